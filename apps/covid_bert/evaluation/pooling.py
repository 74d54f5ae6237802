"""Findings over several studies: means, AUC and proportions, drawn by patients or by blocks of slices."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from covid_bert.evaluation.estimates import Estimate, mean_estimate, neighbouring_blocks
from covid_bert.evaluation.metrics import auc_estimate, grouped_auc
from covid_bert.evaluation.results import Finding, StudyRow
from covid_bert.evaluation.slices import BLOCK_MILLIMETERS
from covid_bert.evaluation.studies import Condition

Value = Callable[[StudyRow], float | None]


def mean_finding(key: str, statement: str, rows: Sequence[StudyRow], value: Value) -> Finding | None:
    """Mean of a value over the studies that have it; None if none has."""
    pairs = [(found, row.patient) for row in rows if (found := value(row)) is not None]
    if not pairs:
        return None
    values, patients = zip(*pairs, strict=True)
    return Finding(
        key=key, statement=statement, estimate=mean_estimate(values, patients), studies=len(pairs), unit="patients"
    )


def auc_finding(
    key: str,
    statement: str,
    rows: Sequence[StudyRow],
    value: Value,
    *,
    positives: Sequence[Condition],
    negatives: Sequence[Condition] = (Condition.NO_PNEUMONIA,),
) -> Finding | None:
    """AUC of a value between conditions; None where a class is missing. Studies of other conditions do not count."""
    counted = [
        (found, row.condition in positives, row.patient)
        for row in rows
        if row.condition in (*positives, *negatives) and (found := value(row)) is not None
    ]
    if not counted:
        return None
    scores, labels, patients = zip(*counted, strict=True)
    estimate = grouped_auc(scores, labels, patients)
    if estimate is None:
        return None
    return Finding(key=key, statement=statement, estimate=estimate, studies=len(counted), unit="patients")


def proportion_finding(key: str, statement: str, rate: Estimate | None) -> Finding | None:
    """Share of patients; None where there is none to count."""
    if rate is None:
        return None
    return Finding(key=key, statement=statement, estimate=rate, studies=rate.count, unit="patients")


def pooled_slices_finding(rows: Sequence[StudyRow]) -> Finding | None:
    """AUC over the slices of all studies with labels, drawn in blocks within each study."""
    scores: list[float] = []
    labels: list[bool] = []
    blocks = []
    studies = 0
    for row in rows:
        if row.lesions is None or row.lesions.slices is None or row.spacing_mm is None:
            continue
        held = [
            (area, label)
            for area, label in zip(row.lesions.area_by_slice, row.lesions.slices.labels, strict=True)
            if area is not None
        ]
        length = max(1, round(BLOCK_MILLIMETERS / row.spacing_mm[0]))
        blocks += [block + len(scores) for block in neighbouring_blocks(len(held), length)]
        scores += [area for area, _ in held]
        labels += [label for _, label in held]
        studies += 1
    estimate = auc_estimate(scores, labels, blocks) if scores else None
    if estimate is None:
        return None
    statement = (
        "AUC of infected slices by their expected area of lesion, slices of all studies with labels together (the "
        "interval is that of other slices of these patients; it does not speak of other patients)"
    )
    return Finding(key="slice_auc", statement=statement, estimate=estimate, studies=studies, unit="blocks of slices")
