"""Lungs by R231, the U-Net of the optional package ``lungmask``, with weights that already lie on this computer.

Hofmanninger et al., "Automatic lung segmentation in routine imaging is primarily a data diversity problem, not a
methodology problem", European Radiology Experimental 4:50, 2020. Its labels are 1 right and 2 left lung, as here, and
its arrays are indexed (slice, row, column) towards the patient's head, back and left: the canonical order.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from covid_bert.errors import InputError, MissingProgramError, WeightsError
from covid_bert.lungs.mask import LUNG_LABELS, LungMask
from covid_bert.lungs.plausibility import no_lungs
from covid_bert.progress import Progress
from covid_bert.volumes.volume import Unit, Volume
from covid_bert.weights.layouts import LUNGMASK_R231
from covid_bert.weights.store import live, load_into

if TYPE_CHECKING:
    import torch

    from covid_bert.weights.identity import WeightsIdentity

METHOD = "r231"
STAGE = "lungs"
WEIGHTS_NAME = "lungmask-r231"
_HINT = f"Run `covid-bert weights fetch {WEIGHTS_NAME}`, or choose the method 'morphological'."
_INPUT_SIDE = 256
_CLASSES = len(LUNG_LABELS) + 1
_BATCH = 8
_SMALLEST_LUNG_SHARE = 0.0005  # of all voxels


def segment(volume: Volume, progress: Progress | None = None, device: str = "auto") -> LungMask:
    """Segment right and left lung with the installed weights; nothing is downloaded.

    Parameters
    ----------
    volume
        In HU.
    progress
        Told the finished fraction; may cancel between batches of slices.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    InputError
        If the volume is not in HU.
    MissingProgramError
        If the package ``lungmask`` is not installed.
    WeightsError
        If the weights are missing or do not fit.
    NotChestError
        If the network finds no lungs.
    CancelledError
        If `progress` was cancelled.
    """
    if volume.unit is not Unit.HOUNSFIELD:
        raise InputError("R231 needs Hounsfield units.", "Choose the lung method 'morphological' for slice images.")
    progress = progress or Progress()
    progress.update(STAGE, 0.0)
    from covid_bert.networks.devices import choose_device

    chosen = choose_device(device)
    network, identity = _network(chosen)
    utils = _lungmask("utils")
    labels = np.empty((volume.shape[0], _INPUT_SIDE, _INPUT_SIDE), np.uint8)
    boxes: list[Any] = []
    for start in range(0, volume.shape[0], _BATCH):
        progress.update(STAGE, 0.9 * start / volume.shape[0])
        batch = slice(start, min(start + _BATCH, volume.shape[0]))
        inputs, cropped = utils.preprocess(np.asarray(volume.array[batch]), resolution=[_INPUT_SIDE, _INPUT_SIDE])
        labels[batch] = _predict(network, inputs, chosen)
        boxes.extend(cropped)
    progress.update(STAGE, 0.9)
    labels = utils.postprocessing(labels, disable_tqdm=True)
    mask = np.zeros(volume.shape, np.uint8)
    for index, box in enumerate(boxes):
        mask[index] = utils.reshape_mask(labels[index], box, volume.shape[1:])
    if np.count_nonzero(mask) < _SMALLEST_LUNG_SHARE * mask.size:
        raise no_lungs()
    progress.update(STAGE, 1.0)
    return LungMask(mask, METHOD, weights=identity)


def _lungmask(name: str) -> Any:
    """Import a module of the package lungmask without what it does on import: it mutes all user warnings."""
    try:
        with warnings.catch_warnings():
            module = importlib.import_module(f"lungmask.{name}")
    except ImportError as error:
        raise MissingProgramError(
            "The lung method 'r231' needs the package lungmask, which is not installed.",
            "Run `pip install 'covid-bert[lungmask]'`, or choose the method 'morphological'.",
        ) from error
    logging.getLogger("lungmask").setLevel(logging.WARNING)
    return module


def _predict(network: torch.nn.Module, inputs: npt.NDArray[np.generic], device: torch.device) -> npt.NDArray[np.uint8]:
    import torch

    # lungmask's own scaling: [-1024, 600] HU to [0, 1].
    scaled = (np.minimum(inputs, 600) + 1024) / 1624
    with torch.inference_mode():
        batch = torch.as_tensor(scaled[:, np.newaxis], dtype=torch.float32, device=device)
        return network(batch).argmax(dim=1).to(torch.uint8).cpu().numpy()


def _network(device: torch.device) -> tuple[torch.nn.Module, WeightsIdentity]:
    network = _lungmask("resunet").UNet(
        n_classes=_CLASSES, padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False
    )
    weights = live(WEIGHTS_NAME)
    if weights is None:
        raise WeightsError("The weights of R231 are not installed.", _HINT)
    identity = load_into(network, weights, architecture=LUNGMASK_R231)
    return network.eval().to(device), identity
