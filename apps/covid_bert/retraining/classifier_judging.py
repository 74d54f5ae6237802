"""How good a classifier is: candidate against live version on the same studies, calibration and operating point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from covid_bert.retraining.classifier_systems import Embedded
from covid_bert.retraining.gate import REFERENCE, VALIDATION, compare_classifiers, measure_classifier
from covid_bert.retraining.records import Comparison, Measured
from covid_bert.training.calibration import OutOfFold, assess
from covid_bert.training.installation import LEAST_AUC
from covid_bert.training.studies import COVID

# Patients of each class, for a temperature and a threshold.
LEAST_CALIBRATION = 5


@dataclass(frozen=True, eq=False)
class Judged:
    """Final scores of two versions on the same studies.

    Parameters
    ----------
    studies
        Whose, and of which class.
    live, candidate
        float32 (studies, classes).
    """

    studies: Sequence[Embedded]
    live: Tensor
    candidate: Tensor

    @property
    def labels(self) -> list[int]:
        """Index into `CLASS_NAMES` of each study."""
        return [study.label for study in self.studies]

    @property
    def patients(self) -> tuple[int, int]:
        """Patients with the finding, and without."""
        with_finding = {study.source for study in self.studies if study.label == COVID}
        without = {study.source for study in self.studies if study.label != COVID}
        return len(with_finding), len(without)


def compare(validation: Judged, references: Judged) -> tuple[tuple[Comparison, ...], tuple[Measured, ...]]:
    """Compare on both sets, and measure the candidate on the validation set; a set without a class is left out.

    The scores are compared as the networks give them: a temperature that was fitted on these very studies would favour
    the candidate.
    """
    comparisons: list[Comparison] = []
    metrics: list[Measured] = []
    for data, judged in ((VALIDATION, validation), (REFERENCE, references)):
        if not all(judged.patients):
            continue
        positive = [label == COVID for label in judged.labels]
        persons = [study.source for study in judged.studies]
        before, after = (scores[:, COVID].double().tolist() for scores in (judged.live, judged.candidate))
        comparisons += compare_classifiers(before, after, positive, persons, data)
        if data == VALIDATION:
            metrics += measure_classifier(after, positive, persons, data)
    return tuple(comparisons), tuple(metrics)


def calibration_of(validation: Judged) -> tuple[OutOfFold | None, str]:
    """Temperature and operating point; None and the reason, as a sentence, where there is none."""
    counts = validation.patients
    if min(counts) < LEAST_CALIBRATION:
        return None, (
            f"No probability is calibrated: that needs {LEAST_CALIBRATION} patients of each class in the frozen "
            f"validation set, and there are {counts[0]} with COVID-19 and {counts[1]} without."
        )
    found = assess(validation.candidate.double().numpy(), np.array(validation.labels))
    if found.auc < LEAST_AUC:
        return None, (
            f"No probability is calibrated: the area under the ROC curve on the frozen validation set is "
            f"{found.auc:.2f}, and {LEAST_AUC:g} is the least."
        )
    return found, ""
