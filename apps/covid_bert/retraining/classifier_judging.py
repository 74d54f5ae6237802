"""How good a classifier is: candidate against other versions on the same studies, calibration and operating point."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from covid_bert.retraining.channel_cache import SeenChannels
from covid_bert.retraining.classifier_start import Networks
from covid_bert.retraining.classifier_systems import Embedded, ImageNetwork
from covid_bert.retraining.gate import Judgement
from covid_bert.retraining.measuring import (
    HELD_OUT,
    REFERENCE,
    TEST,
    VALIDATION,
    compare_classifiers,
    measure_calibrated,
    measure_classifier,
)
from covid_bert.retraining.progress import RunProgress
from covid_bert.retraining.records import Comparison, Measured
from covid_bert.training.calibration import OutOfFold, assess, calibrated
from covid_bert.training.installation import LEAST_AUC
from covid_bert.training.studies import COVID

# Patients of each class, for a temperature and a threshold.
LEAST_CALIBRATION = 5

Embed = Callable[[ImageNetwork, Sequence[SeenChannels]], Sequence[Embedded]]


@dataclass(frozen=True, eq=False)
class Scored:
    """Final scores of one version, before calibration.

    Parameters
    ----------
    studies
        Whose, and of which class.
    scores
        float32 (studies, classes).
    """

    studies: Sequence[SeenChannels]
    scores: Tensor

    @property
    def finding(self) -> list[float]:
        """Score of the finding."""
        return [float(value) for value in self.scores[:, COVID].double()]

    @property
    def positive(self) -> list[bool]:
        """Whether each study has the finding."""
        return [study.label == COVID for study in self.studies]

    @property
    def persons(self) -> list[str]:
        """Whose study each is."""
        return [study.source for study in self.studies]

    @property
    def patients(self) -> tuple[int, int]:
        """Patients with the finding, and without."""
        with_finding = {study.source for study in self.studies if study.label == COVID}
        without = {study.source for study in self.studies if study.label != COVID}
        return len(with_finding), len(without)


@dataclass(frozen=True, eq=False)
class HeldStudies:
    """What a classifier is judged on.

    Parameters
    ----------
    validation, test
        Studies of held-out patients.
    references
        That no label can change.
    """

    validation: Sequence[SeenChannels]
    test: Sequence[SeenChannels]
    references: Sequence[SeenChannels]

    def scored(self, networks: Networks, embed: Embed) -> dict[str, Scored]:
        """Scores of a version by the name of the data; the network on images runs over all at once."""
        parts = {
            VALIDATION: self.validation,
            TEST: self.test,
            HELD_OUT: [*self.validation, *self.test],
            REFERENCE: self.references,
        }
        ordered = [*parts[HELD_OUT], *parts[REFERENCE]]
        scores = networks.reader.scores(embed(networks.image, ordered))
        first, second = len(self.validation), len(parts[HELD_OUT])
        slices = {
            VALIDATION: slice(first),
            TEST: slice(first, second),
            HELD_OUT: slice(second),
            REFERENCE: slice(second, None),
        }
        return {data: Scored(studies, scores[slices[data]]) for data, studies in parts.items()}


@dataclass(frozen=True, eq=False)
class ClassifierJudgement:
    """What the gate decides on, and what goes into the manifests.

    Parameters
    ----------
    judgement
        Of the gate.
    calibration
        Temperature and operating point of the candidate; None where there is none.
    why
        Then why, as a sentence.
    """

    judgement: Judgement
    calibration: OutOfFold | None
    why: str


def judge_classifier(
    candidate: Networks,
    opponents: Mapping[str, Networks],
    held: HeldStudies,
    embed: Embed,
    progress: RunProgress,
    *,
    live_is_calibrated: bool = False,
) -> ClassifierJudgement:
    """Judge a candidate and other versions on the same studies.

    The scores are compared as the networks give them: a temperature that was fitted on some of these very studies
    would favour the candidate. What lacks a class is not compared.

    Parameters
    ----------
    candidate
        Networks of the candidate.
    opponents
        By version; the live one first.
    held
        To judge on.
    embed
        Runs a network on images over studies.
    progress
        Told of the stage ``judging``.
    live_is_calibrated
        Whether the live version gives a calibrated probability, so that the candidate has to give one.

    Raises
    ------
    CancelledError
        If the run is asked to stop.
    """
    progress.update("judging", 0.0)
    own = held.scored(candidate, embed)
    comparisons: list[Comparison] = []
    live: tuple[Measured, ...] = ()
    for number, (version, networks) in enumerate(opponents.items(), start=1):
        progress.update("judging", number / (1 + len(opponents)))
        other = held.scored(networks, embed)
        for data in (HELD_OUT, REFERENCE):
            if all(own[data].patients):
                truth, persons = own[data].positive, own[data].persons
                comparisons += compare_classifiers(
                    other[data].finding, own[data].finding, truth, persons, data, against=version
                )
        if number == 1:
            live = _measured(other[HELD_OUT], HELD_OUT, without_width=True)
    calibration, why = calibration_of(own[VALIDATION])
    metrics = [item for data in (VALIDATION, TEST) for item in _measured(own[data], data)]
    if calibration is not None and all(own[TEST].patients):
        test = own[TEST]
        probability = calibrated(test.scores.double().numpy(), calibration.temperature).tolist()
        metrics += measure_calibrated(probability, calibration.threshold, test.positive, test.persons, TEST)
    judgement = Judgement(
        opponents=tuple(opponents),
        counts=own[HELD_OUT].patients,
        comparisons=tuple(comparisons),
        live=live,
        metrics=tuple(metrics),
        uncalibrated=why if live_is_calibrated else "",
    )
    return ClassifierJudgement(judgement, calibration, why)


def calibration_of(validation: Scored) -> tuple[OutOfFold | None, str]:
    """Temperature and operating point; None and the reason, as a sentence, where there is none."""
    counts = validation.patients
    if min(counts) < LEAST_CALIBRATION:
        return None, (
            f"No probability is calibrated: that needs {LEAST_CALIBRATION} patients of each class in the frozen "
            f"validation set, and there are {counts[0]} with COVID-19 and {counts[1]} without."
        )
    found = assess(validation.scores.double().numpy(), np.array([study.label for study in validation.studies]))
    if found.auc < LEAST_AUC:
        return None, (
            f"No probability is calibrated: the area under the ROC curve on the frozen validation set is "
            f"{found.auc:.2f}, and {LEAST_AUC:g} is the least."
        )
    return found, ""


def _measured(scored: Scored, data: str, *, without_width: bool = False) -> tuple[Measured, ...]:
    if not all(scored.patients):
        return ()
    return measure_classifier(scored.finding, scored.positive, scored.persons, data, without_width=without_width)
