"""The pools of the simulation: studies and slices with their labels, embedded once by the shipped networks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from covid_bert.evaluation.sources import list_studies
from covid_bert.evaluation.studies import ExternalStudy
from covid_bert.files import replacing
from covid_bert.lesions.network import WEIGHTS_NAME as LESION_WEIGHTS
from covid_bert.networks.slice_network import SliceNetwork
from covid_bert.progress import Progress
from covid_bert.systems.configuration import BASELINE_CONFIGURATIONS
from covid_bert.systems.loading import LoadedNetwork, load_networks
from covid_bert.systems.segmented import SegmentedStudy
from covid_bert.systems.slices import prepare_slices
from covid_bert.weights.identity import WeightsIdentity
from covid_bert.weights.store import live

Say = Callable[[str], None]
FloatArray = npt.NDArray[np.float32]
CLEAR, INFECTED = "clear", "infected"
SLICES_IN_BLOCK = 8


@dataclass(frozen=True, eq=False)
class LabelPool:
    """What can be labelled, as two stages see it.

    Parameters
    ----------
    stages
        float32 (items, channels) each: what the first and the second stage's head read.
    kinds
        (items): what each item is; one of the kinds is the class to be learned.
    groups
        (items): those of one group are dealt out together, because they are alike.
    """

    stages: tuple[FloatArray, FloatArray]
    kinds: npt.NDArray[np.str_]
    groups: npt.NDArray[np.intp]


def slice_pool(data: Path, samples: Path, cache: Path, *, say: Say) -> LabelPool:
    """Slices of real studies with labels of infection, as the shipped slice network embeds them.

    Parameters
    ----------
    data
        Folder with the external sets; those with labels of slices or masks of lesions, or of healthy persons, are
        taken, and none that the shipped networks have learned from.
    samples
        The project's sample data.
    cache
        Keeps embeddings.
    say
        Told what is under way.
    """
    loaded = load_networks(BASELINE_CONFIGURATIONS["small"], torch.device("cpu"), torch.float32)
    network = loaded.by_role["slice"]
    lesions = live(LESION_WEIGHTS)
    assert lesions is not None
    file = cache / f"slices-{_digest(lesions.sha256, network.identity)}.npz"
    if not file.exists():
        listed = [study for study in list_studies(data, samples)[0] if not study.facts.training_source]
        found: dict[str, list[npt.NDArray[np.generic]]] = {"first": [], "second": [], "positive": [], "persons": []}
        for one in listed:
            study = one.load()
            infected = _infected(study)
            if infected is None:
                continue
            say(one.facts.name)
            first, second, indices = _embed_slices(study, network)
            found["first"].append(first)
            found["second"].append(second)
            found["positive"].append(infected[indices])
            found["persons"].append(np.full(len(indices), one.facts.patient))
        with replacing(file) as temporary:
            np.savez(temporary, **{name: np.concatenate(values) for name, values in found.items()})
    with np.load(file, allow_pickle=False) as held:
        kinds = np.where(held["positive"], INFECTED, CLEAR)
        return LabelPool((held["first"], held["second"]), kinds, _blocks(held["persons"]))


def _blocks(persons: npt.NDArray[np.str_]) -> npt.NDArray[np.intp]:
    """Number of the block of neighbouring slices that each slice is in; the slices of a person follow each other."""
    found = np.empty(len(persons), np.intp)
    first = 0
    for person in dict.fromkeys(persons):
        rows = np.flatnonzero(persons == person)
        found[rows] = first + np.arange(len(rows)) // SLICES_IN_BLOCK
        first = int(found[rows[-1]]) + 1
    return found


def _infected(study: ExternalStudy) -> npt.NDArray[np.bool_] | None:
    """Whether each slice shows infection; None where nobody has said."""
    if study.slice_labels is not None:
        return study.slice_labels
    return study.lesions.any(axis=(1, 2)) if study.lesions is not None else None


def _embed_slices(study: ExternalStudy, network: LoadedNetwork) -> tuple[FloatArray, FloatArray, npt.NDArray[np.int64]]:
    """Embedding and pooled last features of each kept slice, by the code that classifies studies."""
    configuration, module = BASELINE_CONFIGURATIONS["small"], network.module
    assert isinstance(module, SliceNetwork)
    progress = Progress()
    segmented = SegmentedStudy.of(study.volume, None, None, lungs_method="auto", device="cpu", progress=progress)
    stack = prepare_slices(segmented, configuration, progress)
    embeddings, features = [], []
    for position in range(len(stack.indices)):
        slices = stack.clip(np.array([position]), configuration.input_side)[:, :, 0]
        with torch.inference_mode():
            maps = module.features(slices)
            embeddings.append(module.embed(maps)[0].numpy())
            features.append(maps.amax((2, 3))[0].numpy())
    return np.stack(embeddings), np.stack(features), stack.indices


def _digest(*networks: str | WeightsIdentity) -> str:
    facts = [network if isinstance(network, str) else str(network.sha256) for network in networks]
    return hashlib.sha256("".join(facts).encode()).hexdigest()[:12]
