"""How good a lung network is, as it is in use: on corrected studies, and on reference studies no label can change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from covid_bert.errors import CovidBertError, NotChestError
from covid_bert.evaluation.metrics import dice
from covid_bert.lungs import unet
from covid_bert.lungs.mask import LEFT_LUNG, RIGHT_LUNG
from covid_bert.phantom import make
from covid_bert.retraining.cases import LabelledStudy
from covid_bert.retraining.gate import REFERENCE, VALIDATION, compare_dice, measure_dice
from covid_bert.retraining.lung_cases import read_case
from covid_bert.retraining.progress import RunProgress
from covid_bert.retraining.records import Comparison, Measured
from covid_bert.segmentation import LoadedSegmenter
from covid_bert.volumes import Volume

Mask = npt.NDArray[np.uint8]
# Persons of the generator that nothing was trained on, and their lesions.
REFERENCES = tuple(
    (seed, pattern)
    for seed, pattern in enumerate(("none", "covid-like", "lobar-pneumonia", "ground-glass") * 2, start=501)
)
_SHAPE, _SPACING = (100, 162, 176), (2.75, 2.0, 2.0)


@dataclass(frozen=True)
class LungJudgement:
    """What the gate decides on.

    Parameters
    ----------
    against
        Version of the live weights.
    comparisons
        Candidate against live version: on the validation set, if there is any, and on the reference studies.
    metrics
        Of the candidate.
    judged
        The studies of the validation set that could be used.
    """

    against: str
    comparisons: tuple[Comparison, ...]
    metrics: tuple[Measured, ...]
    judged: tuple[LabelledStudy, ...]

    @property
    def patients(self) -> int:
        """Whose studies were judged."""
        return len({study.patient for study in self.judged})


def mean_dice(found: Mask, truth: Mask) -> float:
    """Mean Dice of the right and the left lung, in [0, 1]; a lung that neither mask has is left out.

    Parameters
    ----------
    found, truth
        (slices, rows, columns): 1 right, 2 left.
    """
    values = [dice(found == side, truth == side) for side in (RIGHT_LUNG, LEFT_LUNG)]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else 1.0


def judge_lungs(
    live: LoadedSegmenter, candidate: LoadedSegmenter, studies: Sequence[LabelledStudy], progress: RunProgress
) -> LungJudgement:
    """Judge a candidate against the live version on the same studies.

    Parameters
    ----------
    live, candidate
        Ready for inference.
    studies
        Of the frozen validation set; those that cannot be read are named and left out.
    progress
        Told of the stage ``judging``.

    Raises
    ------
    CancelledError
        If the run is asked to stop.
    """
    total = len(studies) + len(REFERENCES)
    judged: list[LabelledStudy] = []
    values: dict[str, list[tuple[float, float]]] = {VALIDATION: [], REFERENCE: []}
    for number, study in enumerate(studies):
        progress.update("judging", number / total)
        try:
            volume, truth = read_case(study)
        except CovidBertError as error:
            progress.leave_out(study.identifier, str(error))
            continue
        values[VALIDATION].append(_both(live, candidate, volume, truth, progress))
        judged.append(study)
    for number, (seed, pattern) in enumerate(REFERENCES, start=len(studies)):
        progress.update("judging", number / total)
        person = make(shape=_SHAPE, spacing=_SPACING, seed=seed, lesions=pattern)
        values[REFERENCE].append(_both(live, candidate, person.volume, person.lungs.array, progress))
    patients = {
        VALIDATION: [study.patient for study in judged],
        REFERENCE: [f"reference {seed}" for seed, _ in REFERENCES],
    }
    comparisons, metrics = [], []
    for data, pairs in values.items():
        if pairs:
            before, after = ([pair[which] for pair in pairs] for which in (0, 1))
            comparisons.append(compare_dice(before, after, patients[data], data))
            metrics.append(measure_dice(after, patients[data], data))
    return LungJudgement(live.identity.version, tuple(comparisons), tuple(metrics), tuple(judged))


def _both(
    live: LoadedSegmenter, candidate: LoadedSegmenter, volume: Volume, truth: Mask, progress: RunProgress
) -> tuple[float, float]:
    first, second = (mean_dice(_segmented(volume, one, progress), truth) for one in (live, candidate))
    return first, second


def _segmented(volume: Volume, segmenter: LoadedSegmenter, progress: RunProgress) -> Mask:
    try:
        return unet.segment(volume, progress.inner(), segmenter=segmenter).array
    except NotChestError:
        # What it found cannot be lungs: as good as nothing.
        return np.zeros(volume.shape, np.uint8)
