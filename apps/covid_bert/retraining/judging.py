"""How one version of a model does on studies with known answers, as the model is used."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from covid_bert.errors import NotChestError, WeightsError
from covid_bert.evaluation.metrics import dice
from covid_bert.lungs import unet
from covid_bert.lungs.mask import LEFT_LUNG, RIGHT_LUNG
from covid_bert.networks.architectures import ARCHITECTURES
from covid_bert.networks.classifiers import ClipNetwork, StudyNetwork
from covid_bert.networks.devices import choose_device
from covid_bert.networks.slice_network import SliceNetwork
from covid_bert.retraining.models import Model
from covid_bert.segmentation import LoadedSegmenter
from covid_bert.segmentation.loading import ready_segmenter
from covid_bert.systems.loading import weights_of
from covid_bert.training.predictions import embed_studies, study_scores, vote
from covid_bert.training.studies import COVID, ClassifierStudy
from covid_bert.volumes.volume import Volume
from covid_bert.weights.companions import companions
from covid_bert.weights.identity import WeightsIdentity
from covid_bert.weights.store import load_into
from covid_bert.weights.version_folder import InstalledWeights

OnStudy = Callable[[int], None]


def candidate_segmenter(module: nn.Module, window_hu: tuple[float, float], device: str = "cpu") -> LoadedSegmenter:
    """Make a lung network that is not installed ready for inference, as installed ones are.

    Parameters
    ----------
    module
        A trained ``lung-segmenter``; not changed.
    window_hu
        HU that become -1 and 1 in its input.
    device
        See `covid_bert.networks.devices.choose_device`.
    """
    place = choose_device(device)
    identity = WeightsIdentity.of_untrained(unet.ARCHITECTURE, 0, module.state_dict())
    return ready_segmenter(copy.deepcopy(module).eval(), identity, window_hu, place)


def lung_dice(segmenter: LoadedSegmenter, volume: Volume, lungs: npt.NDArray[np.uint8]) -> float:
    """Mean Dice of right and left lung in [0, 1]; 0 where the network finds nothing that can be lungs.

    Parameters
    ----------
    segmenter
        The version.
    volume
        In HU, with known voxel size.
    lungs
        uint8 on the volume's grid: 1 right, 2 left lung, both there.
    """
    try:
        found = unet.segment(volume, segmenter=segmenter).array
    except NotChestError:
        return 0.0
    return mean_dice(found, lungs)


def mean_dice(found: npt.NDArray[np.uint8], lungs: npt.NDArray[np.uint8]) -> float:
    """Mean Dice of right and left lung in [0, 1], of two masks (slices, rows, columns): 1 right, 2 left."""
    return float(np.mean([dice(found == side, lungs == side) or 0.0 for side in (RIGHT_LUNG, LEFT_LUNG)]))


def live_modules(model: Model) -> dict[str, nn.Module]:
    """Networks that a classifier uses now, by the name of their weights, in float32 and evaluation mode on the CPU.

    Raises
    ------
    WeightsError
        If one is damaged, or not installed.
    """
    assert model.configuration is not None
    return _modules(model, weights_of(model.configuration).weights)


def modules_of_version(model: Model, head: InstalledWeights) -> dict[str, nn.Module]:
    """Networks that a classifier would use if `head` were live; otherwise as `live_modules`."""
    configuration = model.configuration
    assert configuration is not None
    assert configuration.head is not None
    names = {role: part.weights for role, part in configuration.parts.items()}
    return _modules(model, companions(names, configuration.head, head))


def _modules(model: Model, found: Mapping[str, InstalledWeights | None]) -> dict[str, nn.Module]:
    assert model.configuration is not None
    modules: dict[str, nn.Module] = {}
    for role, part in model.configuration.parts.items():
        weights = found[role]
        if weights is None:
            raise WeightsError(
                f"No weights of {part.weights} are installed, so there is nothing to compare with.",
                f"Bring them in with `covid-bert weights import FILE --name {part.weights}`.",
            )
        module: nn.Module = ARCHITECTURES[part.architecture]()
        load_into(module, weights, architecture=part.architecture)
        modules[part.weights] = module.eval().requires_grad_(False)
    return modules


def classifier_scores(
    model: Model,
    modules: Mapping[str, nn.Module],
    studies: Sequence[ClassifierStudy],
    on_study: OnStudy | None = None,
) -> list[float]:
    """Final score of the finding for each study, before any calibration: in [0, 1], or not a number.

    Parameters
    ----------
    model
        A classifier.
    modules
        By the name of their weights, in evaluation mode on the CPU; not changed.
    studies
        As the small configurations see them.
    on_study
        Told the number of studies that are done; may raise to cancel.
    """
    configuration = model.configuration
    assert configuration is not None
    parts = configuration.parts
    chosen = list(studies)
    with torch.inference_mode():
        if "slice" in parts:
            slices = modules[parts["slice"].weights]
            assert isinstance(slices, SliceNetwork)
            scores = vote(slices, chosen)[0]
        else:
            clip = modules[parts["clip"].weights]
            assert isinstance(clip, ClipNetwork)
            embedded = embed_studies(clip, chosen, on_study=on_study)
            if "study" in parts:
                network = modules[parts["study"].weights]
                assert isinstance(network, StudyNetwork)
                scores = study_scores(network, embedded)
            else:
                # The clips decide; see S2Configuration.
                scores = torch.stack([item.set_scores for item in embedded])
    return [float(value) for value in scores[:, COVID]]
