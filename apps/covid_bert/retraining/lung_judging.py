"""How good a lung network is, as it is in use: on corrected studies, and on reference studies no label can change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from covid_bert.errors import CovidBertError
from covid_bert.retraining.cases import LabelledStudy, Part
from covid_bert.retraining.gate import Judgement
from covid_bert.retraining.judging import Mask, found_lungs, mean_dice
from covid_bert.retraining.lung_cases import read_case
from covid_bert.retraining.measuring import (
    HELD_OUT,
    REFERENCE,
    TEST,
    VALIDATION,
    compare_dice,
    measure_agreement,
    measure_dice,
)
from covid_bert.retraining.progress import RunProgress
from covid_bert.retraining.records import Comparison
from covid_bert.retraining.reference import lung_references
from covid_bert.segmentation import LoadedSegmenter
from covid_bert.volumes.volume import Volume

# Of the time of judging, by the held-out studies.
_OWN_SHARE = 0.5


@dataclass
class _Found:
    """Dice of all versions on some studies, the candidate's first."""

    candidate: LoadedSegmenter
    opponents: Mapping[str, LoadedSegmenter]
    progress: RunProgress
    patients: list[str] = field(default_factory=list)
    dice: list[list[float]] = field(default_factory=list)
    agreement: list[float] = field(default_factory=list)

    def add(self, patient: str, volume: Volume, truth: Mask) -> None:
        masks = []
        for version in (self.candidate, *self.opponents.values()):
            self.progress.check()
            masks.append(found_lungs(version, volume))
        self.patients.append(patient)
        self.dice.append([mean_dice(mask, truth) for mask in masks])
        self.agreement.append(mean_dice(masks[0], masks[1]))

    def comparisons(self, data: str) -> list[Comparison]:
        if not self.patients:
            return []
        candidate, *others = zip(*self.dice, strict=True)
        return [
            compare_dice(values, candidate, self.patients, data, against=version)
            for version, values in zip(self.opponents, others, strict=True)
        ]


def judge_lungs(
    candidate: LoadedSegmenter,
    opponents: Mapping[str, LoadedSegmenter],
    studies: Sequence[LabelledStudy],
    progress: RunProgress,
) -> tuple[Judgement, tuple[LabelledStudy, ...]]:
    """Judge a candidate and other versions on the same studies.

    Parameters
    ----------
    candidate
        Ready for inference.
    opponents
        By version; the live one first.
    studies
        With masks, of the parts validation and test; those that cannot be read are named and left out.
    progress
        Told of the stage ``judging``.

    Returns
    -------
    tuple
        The judgement, and the studies that could be used.

    Raises
    ------
    CancelledError
        If the run is asked to stop.
    WeightsError
        If the reference studies cannot be kept in the data folder.
    """
    judged: list[LabelledStudy] = []
    held = _Found(candidate, opponents, progress)
    for number, study in enumerate(studies):
        progress.update("judging", _OWN_SHARE * number / len(studies))
        try:
            volume, truth = read_case(study)
        except CovidBertError as error:
            progress.leave_out(study.identifier, error.message)
            continue
        held.add(study.patient, volume, truth)
        judged.append(study)
    metrics = []
    for part, data in ((Part.VALIDATION, VALIDATION), (Part.TEST, TEST)):
        chosen = [number for number, study in enumerate(judged) if study.part is part]
        if chosen:
            values, patients = [held.dice[number][0] for number in chosen], [held.patients[number] for number in chosen]
            metrics.append(measure_dice(values, patients, data))
    live = [values[1] for values in held.dice]
    judgement = Judgement(
        opponents=tuple(opponents),
        counts=(len(set(held.patients)),),
        comparisons=(*held.comparisons(HELD_OUT), *_on_references(candidate, opponents, progress)),
        live=(measure_dice(live, held.patients, HELD_OUT, without_width=True),) if judged else (),
        metrics=tuple(metrics),
        agreement=measure_agreement(held.agreement, held.patients) if judged else None,
    )
    return judgement, tuple(judged)


def _on_references(
    candidate: LoadedSegmenter, opponents: Mapping[str, LoadedSegmenter], progress: RunProgress
) -> list[Comparison]:
    def told(_what: str, _done: int, _count: int) -> None:
        progress.update("judging", _OWN_SHARE)

    references = lung_references(tell=told)
    found = _Found(candidate, opponents, progress)
    for number, item in enumerate(references):
        progress.update("judging", _OWN_SHARE + (1 - _OWN_SHARE) * number / len(references))
        found.add(item.name, item.volume, item.lungs)
    return found.comparisons(REFERENCE)
