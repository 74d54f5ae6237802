"""What follows from all studies about the classification systems."""

from __future__ import annotations

from collections.abc import Sequence

from covid_bert.evaluation.estimates import wilson
from covid_bert.evaluation.metrics import sensitivity_specificity
from covid_bert.evaluation.pooling import auc_finding, proportion_finding
from covid_bert.evaluation.results import ClassificationRow, Finding, StudyRow
from covid_bert.evaluation.studies import Condition

# What COVID-19 is told from: its part of the key, its words, and the conditions.
_OTHERS = (
    ("", "no pneumonia", (Condition.NO_PNEUMONIA,)),
    ("_or_pneumonia", "pneumonia or none", (Condition.PNEUMONIA, Condition.NO_PNEUMONIA)),
)


def systems_of(rows: Sequence[StudyRow]) -> list[tuple[str, str]]:
    """Systems and configurations that classified, in the order of their first appearance."""
    return list(dict.fromkeys((item.system, item.configuration) for row in rows for item in row.classifications))


def classification_of(row: StudyRow, system: str, configuration: str) -> ClassificationRow | None:
    """What one system said of a study; None if it failed or did not run."""
    for item in row.classifications:
        if (item.system, item.configuration) == (system, configuration) and item.error is None:
            return item
    return None


def system_findings(rows: Sequence[StudyRow], system: str, configuration: str) -> list[Finding | None]:
    """Findings of one system: on external studies, and on all studies under labels of their own.

    Training could use the lungs of the others, so that a system may know them as healthy ones.
    """
    external = [row for row in rows if not row.training_source]
    found: list[Finding | None] = []
    for scope, members in (("external", external), ("all", rows)):
        found += _scores(scope, members, system, configuration)
        found += _decisions(scope, members, system, configuration)
    fell = [
        item.blanked_score < item.score
        for item, _ in _one_of_each_patient(external, system, configuration)
        if item.blanked_score is not None and item.score is not None
    ]
    if fell:
        statement = (
            f"{system} ({configuration}): infected studies whose score falls when their lungs are replaced by even "
            "tissue, external studies"
        )
        found.append(
            proportion_finding(f"{system}_{configuration}_blanked_fell", statement, wilson(sum(fell), len(fell)))
        )
    return found


def _scores(scope: str, rows: Sequence[StudyRow], system: str, configuration: str) -> list[Finding | None]:
    def score(row: StudyRow) -> float | None:
        said = classification_of(row, system, configuration)
        return said.score if said is not None else None

    return [
        auc_finding(
            f"{system}_{configuration}_auc{part}_{scope}",
            f"{system} ({configuration}): AUC of the score, COVID-19 against {words}, {scope} studies",
            rows,
            score,
            positives=(Condition.COVID_19,),
            negatives=negatives,
        )
        for part, words, negatives in _OTHERS
    ]


def _decisions(scope: str, rows: Sequence[StudyRow], system: str, configuration: str) -> list[Finding | None]:
    """Sensitivity, and specificity for each kind of negatives, at the operating point."""
    decided = [
        (item.probability >= item.threshold, row.condition)
        for item, row in _one_of_each_patient(rows, system, configuration)
        if item.probability is not None and item.threshold is not None
    ]
    key, title = f"{system}_{configuration}", f"{system} ({configuration})"
    found: list[Finding | None] = []
    for part, words, negatives in _OTHERS:
        counted = [
            (positive, condition is Condition.COVID_19)
            for positive, condition in decided
            if condition in (Condition.COVID_19, *negatives)
        ]
        if not counted:
            continue
        sensitivity, specificity = sensitivity_specificity(*zip(*counted, strict=True))
        end = f"at its operating point, {scope} studies"
        if not found:
            statement = f"{title}: sensitivity for COVID-19 {end}"
            found.append(proportion_finding(f"{key}_sensitivity_{scope}", statement, sensitivity))
        statement = f"{title}: specificity for {words} {end}"
        found.append(proportion_finding(f"{key}_specificity{part}_{scope}", statement, specificity))
    return found


def _one_of_each_patient(
    rows: Sequence[StudyRow], system: str, configuration: str
) -> list[tuple[ClassificationRow, StudyRow]]:
    """First study of each patient, if it was classified: the interval of a proportion wants independent trials."""
    return [
        (item, row)
        for row in {row.patient: row for row in reversed(rows)}.values()
        if (item := classification_of(row, system, configuration)) is not None
    ]
