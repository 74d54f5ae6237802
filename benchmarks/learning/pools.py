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
from covid_bert.lesions.network import ARCHITECTURE as LESION_ARCHITECTURE
from covid_bert.lesions.network import WEIGHTS_NAME as LESION_WEIGHTS
from covid_bert.networks.classifiers import ClipNetwork
from covid_bert.networks.slice_network import SliceNetwork
from covid_bert.progress import Progress
from covid_bert.segmentation import load_segmenter
from covid_bert.systems.configuration import BASELINE_CONFIGURATIONS, S1_CONFIGURATIONS, Part
from covid_bert.systems.loading import LoadedNetwork, load_network
from covid_bert.systems.segmented import SegmentedStudy
from covid_bert.systems.slices import prepare_slices
from covid_bert.training.lesion_evidence import LesionEvidence
from covid_bert.training.material import load_material
from covid_bert.training.predictions import embed_studies
from covid_bert.training.studies import make_studies
from covid_bert.weights.identity import WeightsIdentity
from covid_bert.weights.store import live, load_into
from covid_bert.weights.untrained import untrained

Say = Callable[[str], None]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LabelPool:
    """What can be labelled, as two stages see it.

    Parameters
    ----------
    name
        For people.
    stages
        float32 (items, channels) each: what the first and the second stage's head read.
    positive
        bool (items): the label.
    persons
        (items): whose they are; those of one person are held out together where `by_person` is true.
    by_person
        Whether test items are those of persons that the pool does not have.
    """

    name: str
    stages: tuple[FloatArray, FloatArray]
    positive: npt.NDArray[np.bool_]
    persons: npt.NDArray[np.str_]
    by_person: bool


def generated_pool(samples: Path, cache: Path, *, count: int, seed: int, say: Say) -> LabelPool:
    """Studies with planted lesions in the sample data and in phantoms, as the shipped clip network embeds them.

    Parameters
    ----------
    samples
        The project's sample data.
    cache
        Keeps studies and embeddings.
    count, seed
        See `covid_bert.training.studies.plan_studies`.
    say
        Told what is under way.
    """
    lesions = live(LESION_WEIGHTS)
    part = S1_CONFIGURATIONS["small"].parts["clip"]
    # Not as the systems load it: `embed_studies` folds the batch norms itself.
    module, _ = untrained(part.architecture, 0)
    assert lesions is not None
    assert isinstance(module, ClipNetwork)
    file = cache / f"generated-{seed}-{count}-{_digest(lesions.sha256, load_into(module, part.weights))}.npz"
    if not file.exists():
        materials = load_material([samples])
        evidence = LesionEvidence(load_segmenter(lesions, LESION_ARCHITECTURE, "cpu"))
        studies = make_studies(
            materials,
            cache / f"studies-{seed}-{lesions.sha256[:12]}",
            evidence,
            count=count,
            seed=seed,
            workers=0,
            on_study=lambda number: say(f"studies {number}/{count}") if number % 20 == 0 else None,
        )
        embedded = embed_studies(module, studies)
        np.savez(
            file,
            first=np.stack([item.windows.mean(0).numpy() for item in embedded]),
            second=np.stack([item.windows.amax(0).numpy() for item in embedded]),
            positive=np.array([study.plan.pattern == "covid-like" and study.label == 0 for study in studies]),
            persons=np.array([study.source for study in studies]),
        )
    return _kept(file, "generated studies", by_person=False)


def slice_pool(data: Path, samples: Path, cache: Path, *, say: Say) -> LabelPool:
    """Slices of real studies with labels of infection, as the shipped slice network embeds them.

    Parameters
    ----------
    data
        Folder with the external sets; those with labels of slices or masks of lesions, or of healthy persons, are
        taken, and none that the shipped networks have learned from.
    samples, cache, say
        As for `generated_pool`.
    """
    network = _network(BASELINE_CONFIGURATIONS["small"].parts["slice"])
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
        np.savez(file, **{name: np.concatenate(values) for name, values in found.items()})
    return _kept(file, "slices of real studies", by_person=True)


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


def _network(part: Part) -> LoadedNetwork:
    return load_network(part, torch.device("cpu"), torch.float32)


def _digest(*networks: str | WeightsIdentity) -> str:
    facts = [network if isinstance(network, str) else str(network.sha256) for network in networks]
    return hashlib.sha256("".join(facts).encode()).hexdigest()[:12]


def _kept(file: Path, name: str, *, by_person: bool) -> LabelPool:
    with np.load(file, allow_pickle=False) as held:
        return LabelPool(name, (held["first"], held["second"]), held["positive"], held["persons"], by_person)
