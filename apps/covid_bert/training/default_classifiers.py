"""The default model's classifiers from real lungs with planted patterns to installed weights.

Folds are by person: all studies made from one person are trained on, or held out, together. Phantoms, and persons of
whom one lung is not shown, are a supplement to training and never held out: in use, such studies get no probability.
The final networks learn from all studies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from covid_bert.errors import NotFoundError
from covid_bert.networks.classifiers import ClipNetwork, EmbeddingMlp, StudyNetwork
from covid_bert.networks.density import EmbeddingDensity, fit_density
from covid_bert.networks.slice_network import SliceNetwork
from covid_bert.systems.configuration import BASELINE_CONFIGURATIONS, S1_CONFIGURATIONS, S2_CONFIGURATIONS, Part
from covid_bert.systems.likeness import SMALLEST_LUNG_SHARE, smaller_lung_share
from covid_bert.training.calibration import OutOfFold, assess, folds_by_person
from covid_bert.training.classifier import (
    train_clip_network,
    train_mlp,
    train_slice_network,
    train_study_network,
)
from covid_bert.training.material import Material
from covid_bert.training.predictions import StudyEmbeddings, embed_studies, study_scores, vote
from covid_bert.training.schedule import Schedule
from covid_bert.training.studies import ClassifierStudy, LesionProbability, make_studies
from covid_bert.weights.untrained import untrained

Module = TypeVar("Module", bound=nn.Module)
Say = Callable[[str], None]
SYSTEMS = ("s1", "s2", "baseline")
HELD_SHARE = 0.99
PHANTOM_PREFIX = "phantom"


@dataclass(frozen=True)
class ClassifierTraining:
    """How much is made and learned.

    Parameters
    ----------
    studies
        Synthetic studies.
    folds
        Of persons.
    fold_share
        Steps in a fold as a share of those of the final networks.
    clip, mlp, study, slice
        Schedules of the final networks.
    """

    studies: int = 600
    folds: int = 3
    fold_share: float = 0.6
    clip: Schedule = field(default_factory=lambda: Schedule(900, 8, 2e-3, 5e-2))
    mlp: Schedule = field(default_factory=lambda: Schedule(400, 16, 2e-3, 1e-3))
    study: Schedule = field(default_factory=lambda: Schedule(300, 16, 1e-3, 1e-2))
    slice: Schedule = field(default_factory=lambda: Schedule(400, 32, 2e-3, 5e-2))

    def in_folds(self) -> ClassifierTraining:
        """The same with the steps of a fold."""
        shorter = {
            name: replace(schedule, steps=max(1, round(schedule.steps * self.fold_share)))
            for name, schedule in (("clip", self.clip), ("study", self.study), ("slice", self.slice))
        }
        return replace(self, **shorter)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Classifiers:
    """Trained networks by the parts that they are, and what was measured out of fold.

    Parameters
    ----------
    modules
        By name of their weights.
    out_of_fold
        By system.
    persons, phantoms, studies
        Numbers of sources and of studies.
    held_persons
        Number of the persons that were held out in a fold.
    """

    modules: dict[str, nn.Module]
    out_of_fold: dict[str, OutOfFold]
    persons: int
    phantoms: int
    studies: int
    held_persons: int


@dataclass(frozen=True, eq=False)
class _Trained:
    """The networks that were trained on some studies, and the densities of these studies."""

    clip: ClipNetwork
    study: StudyNetwork
    slices: SliceNetwork
    embeddings: list[StudyEmbeddings]
    densities: dict[str, EmbeddingDensity]


def train_classifiers(
    materials: list[Material],
    folder: Path,
    lesion_probability: LesionProbability,
    training: ClassifierTraining | None = None,
    *,
    seed: int,
    workers: int = 2,
    say: Say = lambda _: None,
) -> Classifiers:
    """Make studies, train in folds and on all, and fit calibration and densities; nothing is installed yet.

    Parameters
    ----------
    materials
        Real studies, at least as many as folds, and phantoms.
    folder
        Keeps the studies that were made.
    lesion_probability
        See `covid_bert.training.studies.make_studies`.
    training
        How much.
    seed
        Of everything drawn.
    workers
        Processes that make studies.
    say
        Told what is under way; may raise to cancel.

    Raises
    ------
    NotFoundError
        If there are fewer persons than folds.
    """
    training = training or ClassifierTraining()
    whole = persons_with_both_lungs(materials)
    check_persons(whole, training.folds)

    def tell(number: int) -> None:
        if number % 25 == 0:
            say(f"studies {number}/{training.studies}")

    studies = make_studies(
        materials, folder, lesion_probability, count=training.studies, seed=seed, workers=workers, on_study=tell
    )
    persons = [study for study in studies if study.source in whole]
    out_of_fold, limits = _out_of_fold(studies, persons, training.in_folds(), seed, say)
    final = _train(studies, training, seed, _prefixed(say, "final"))
    for system, density in final.densities.items():
        density.threshold.fill_(limits[system])
    mlp = _new(S2_CONFIGURATIONS["small"].parts["mlp"], EmbeddingMlp, seed)
    mlp = train_mlp(mlp, final.embeddings, training.mlp, seed=seed)
    s1, s2, baseline = (
        table["small"].parts for table in (S1_CONFIGURATIONS, S2_CONFIGURATIONS, BASELINE_CONFIGURATIONS)
    )
    modules = {
        s2["clip"].weights: final.clip,
        s2["mlp"].weights: mlp,
        s1["study"].weights: final.study,
        baseline["slice"].weights: final.slices,
        s1["density"].weights: final.densities["s1"],
        s2["density"].weights: final.densities["s2"],
        baseline["density"].weights: final.densities["baseline"],
    }
    return Classifiers(
        modules,
        out_of_fold,
        persons=sum(not material.name.startswith(PHANTOM_PREFIX) for material in materials),
        phantoms=sum(material.name.startswith(PHANTOM_PREFIX) for material in materials),
        studies=len(studies),
        held_persons=len(whole),
    )


def persons_with_both_lungs(materials: list[Material]) -> set[str]:
    """Names of the real studies that show both lungs: they are dealt out to the folds."""
    return {
        material.name
        for material in materials
        if not material.name.startswith(PHANTOM_PREFIX) and smaller_lung_share(material.lungs) >= SMALLEST_LUNG_SHARE
    }


def check_persons(persons: set[str], folds: int) -> None:
    """Refuse material of too few persons before hours are spent on it.

    Raises
    ------
    NotFoundError
        If there are fewer persons than folds.
    """
    if len(persons) < folds:
        raise NotFoundError(
            f"The classifiers need real studies of {folds} persons that show both lungs; {len(persons)} are there.",
            "Add folders with --data: docs/synthesis.md lists the studies. Or train with --only lungs or lesions.",
        )


def _train(studies: list[ClassifierStudy], training: ClassifierTraining, seed: int, say: Say) -> _Trained:
    """Train clip, study and slice network on some studies, and fit the densities of these."""

    def steps(what: str) -> Callable[[int, float, float], None]:
        return lambda step, loss, seconds: say(f"{what} step {step}, loss {loss:.4f}, {seconds:.0f} s")

    clip = _new(S2_CONFIGURATIONS["small"].parts["clip"], ClipNetwork, seed)
    clip = train_clip_network(clip, studies, training.clip, seed=seed, on_step=steps("clip network"))
    embeddings = embed_studies(clip, studies)
    say("embeddings")
    study = _new(S1_CONFIGURATIONS["small"].parts["study"], StudyNetwork, seed)
    study = train_study_network(study, embeddings, training.study, seed=seed)
    say("study network")
    slices = _new(BASELINE_CONFIGURATIONS["small"].parts["slice"], SliceNetwork, seed)
    slices = train_slice_network(slices, studies, training.slice, seed=seed, on_step=steps("slice network"))
    judged = _judged(embeddings, vote(slices, studies)[1])
    return _Trained(clip, study, slices, embeddings, {name: fit_density(judged[name]) for name in SYSTEMS})


def _out_of_fold(
    studies: list[ClassifierStudy], persons: list[ClassifierStudy], training: ClassifierTraining, seed: int, say: Say
) -> tuple[dict[str, OutOfFold], dict[str, float]]:
    """Assess each system on persons that it was not trained on; and the distance that most of them keep within."""
    scores: dict[str, list[Tensor]] = {name: [] for name in SYSTEMS}
    distances: dict[str, list[Tensor]] = {name: [] for name in SYSTEMS}
    labels: list[int] = []
    folds = folds_by_person([study.source for study in persons], training.folds, seed)
    for number, held_persons in enumerate(folds):
        say(f"fold {number + 1} without {', '.join(sorted(held_persons))}")
        kept = [study for study in studies if study.source not in held_persons]
        held = [study for study in persons if study.source in held_persons]
        trained = _train(kept, training, seed + number + 1, _prefixed(say, f"fold {number + 1}"))
        embeddings = embed_studies(trained.clip, held)
        votes, slice_embeddings = vote(trained.slices, held)
        scores["s1"].append(study_scores(trained.study, embeddings))
        scores["s2"].append(torch.stack([item.set_scores for item in embeddings]))
        scores["baseline"].append(votes)
        for name, values in _judged(embeddings, slice_embeddings).items():
            distances[name].append(trained.densities[name].distance(values))
        labels += [study.label for study in held]
    truth = np.array(labels)
    found = {name: assess(torch.cat(parts).double().numpy(), truth) for name, parts in scores.items()}
    for name, result in found.items():
        say(f"out of fold {name}: {result}")
    limits = {name: float(np.quantile(torch.cat(parts).numpy(), HELD_SHARE)) for name, parts in distances.items()}
    say(f"limits of the densities: {limits}")
    return found, limits


def _judged(embeddings: list[StudyEmbeddings], slice_embeddings: Tensor) -> dict[str, Tensor]:
    """What each system's density judges, (studies, channels): the mean over clips or voting slices."""
    return {
        "s1": torch.stack([item.windows.mean(0) for item in embeddings]),
        "s2": torch.stack([item.sets.mean(0) for item in embeddings]),
        "baseline": slice_embeddings,
    }


def _new(part: Part, kind: type[Module], seed: int) -> Module:
    module, _ = untrained(part.architecture, seed)
    assert isinstance(module, kind)
    return module.requires_grad_(True)


def _prefixed(say: Say, prefix: str) -> Say:
    return lambda text: say(f"{prefix}: {text}")
