"""Whether the source of a study can be told from its images, from what was found in it, or from its scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from covid_bert.evaluation.probes import source_test
from covid_bert.evaluation.results import IMAGES, SourceTest, StudyRow

Describe = Callable[[StudyRow], dict[str, float] | None]


def source_tests(rows: Sequence[StudyRow]) -> list[SourceTest]:
    """Try to tell the source from the images, from the lesions, and from the scores.

    Only the first speaks of scanners: lesions and scores differ between sources that differ in condition.
    """
    features: dict[str, Describe] = {
        f"{IMAGES}: spacing, field of view, density of healthy lung, noise, highest value": lambda row: (
            row.descriptor or None
        ),
        "lesions: share, consolidated part, place": _lesion_features,
        "scores of the classification systems": _score_features,
    }
    return [test for name, describe in features.items() if (test := _source_test(name, rows, describe)) is not None]


def _lesion_features(row: StudyRow) -> dict[str, float] | None:
    lesions = row.lesions
    if lesions is None or lesions.share is None:
        return None
    total = (lesions.ground_glass_ml or 0.0) + (lesions.consolidation_ml or 0.0)
    return {
        "share": lesions.share,
        "consolidated": (lesions.consolidation_ml or 0.0) / total if total else 0.0,
        "lower": lesions.lower_share or 0.0,
        "peripheral": lesions.peripheral_share or 0.0,
    }


def _score_features(row: StudyRow) -> dict[str, float] | None:
    scores = {f"{item.system} {item.configuration}": item.score for item in row.classifications}
    known = {name: score for name, score in scores.items() if score is not None}
    return known if known and len(known) == len(scores) else None


def _source_test(name: str, rows: Sequence[StudyRow], describe: Describe) -> SourceTest | None:
    described = [(features, row) for row in rows if (features := describe(row)) is not None]
    patients: dict[str, set[str]] = {}
    for _, row in described:
        patients.setdefault(row.source, set()).add(row.patient)
    # A source of one patient cannot be told from the others: nothing of it is left when that patient is left out.
    counted = [(features, row) for features, row in described if len(patients[row.source]) > 1]
    names = {frozenset(features) for features, _ in counted}
    if len(names) != 1:
        return None
    found = source_test(
        [features for features, _ in counted], [row.source for _, row in counted], [row.patient for _, row in counted]
    )
    if found is None:
        return None
    accuracy, chance, p_value = found
    sources = sorted({row.source for _, row in counted})
    return SourceTest(
        features=name, studies=len(counted), sources=sources, accuracy=accuracy, chance=chance, p_value=p_value
    )
