"""How good a lung network is, as it is in use: on corrected studies, and on reference studies no label can change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from covid_bert.errors import CovidBertError
from covid_bert.retraining.cases import LabelledStudy
from covid_bert.retraining.gate import VALIDATION, compare_dice, measure_dice
from covid_bert.retraining.judging import lung_dice
from covid_bert.retraining.lung_cases import read_case
from covid_bert.retraining.progress import RunProgress
from covid_bert.retraining.records import Comparison, Measured
from covid_bert.retraining.reference import compare_lungs
from covid_bert.segmentation import LoadedSegmenter

# Of the time of judging, by the studies of the validation set.
_OWN_SHARE = 0.5


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
    judged: list[LabelledStudy] = []
    before: list[float] = []
    after: list[float] = []
    for number, study in enumerate(studies):
        progress.update("judging", _OWN_SHARE * number / len(studies))
        try:
            volume, truth = read_case(study)
        except CovidBertError as error:
            progress.leave_out(study.identifier, str(error))
            continue
        before.append(lung_dice(live, volume, truth))
        progress.check()
        after.append(lung_dice(candidate, volume, truth))
        judged.append(study)

    def told(_what: str, done: int, count: int) -> None:
        progress.update("judging", _OWN_SHARE + (1 - _OWN_SHARE) * done / count)

    comparisons: list[Comparison] = []
    metrics: list[Measured] = []
    if judged:
        patients = [study.patient for study in judged]
        comparisons.append(compare_dice(before, after, patients, VALIDATION))
        metrics.append(measure_dice(after, patients, VALIDATION))
    comparisons.append(compare_lungs(live, candidate, tell=told))
    return LungJudgement(live.identity.version, tuple(comparisons), tuple(metrics), tuple(judged))
