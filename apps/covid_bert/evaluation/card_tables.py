"""Tables of the model card, in Markdown: every number comes from the measurement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from covid_bert.evaluation.classification_findings import classification_of, systems_of
from covid_bert.evaluation.estimates import Estimate
from covid_bert.evaluation.results import Finding, LungRow, Measurement, StudyRow, Target
from covid_bert.evaluation.studies import Condition

NOTHING = "–"


def number(value: float | None, digits: int = 2) -> str:
    """A number, or a dash where there is none."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """A share in percent, or a dash."""
    return NOTHING if value is None else f"{value:.1%}"


def with_interval(estimate: Estimate | None, digits: int = 2) -> str:
    """A value with its 95 % interval, where there is one."""
    if estimate is None:
        return NOTHING
    if estimate.lower is None or estimate.upper is None:
        return f"{estimate.value:.{digits}f} (no interval)"
    return f"{estimate.value:.{digits}f} ({estimate.lower:.{digits}f} to {estimate.upper:.{digits}f})"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; bars in cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def weights_table(measurement: Measurement) -> str:
    """The weights that took part."""
    return table(
        ("weights", "version", "SHA-256", "demonstration", "trained on", "licence"),
        (
            (
                item.name,
                item.version,
                item.sha256[:12],
                "yes" if item.demonstration else "no",
                item.trained_on,
                item.licence,
            )
            for item in sorted(measurement.weights, key=lambda item: item.name)
        ),
    )


def verdict(target: Target) -> str:
    """``reaches``, ``does not reach`` or ``not measured``."""
    if target.reached is None:
        return "not measured"
    return "reaches" if target.reached else "does not reach"


def targets_table(targets: Sequence[Target]) -> str:
    """What the model should reach, and whether it does."""
    return table(
        ("target", "aim", "measured", ""),
        (
            (
                item.statement,
                NOTHING if item.aim is None else f"{'at least' if item.at_least else 'at most'} {item.aim:.3f}",
                number(item.value, 3),
                verdict(item),
            )
            for item in targets
        ),
    )


def findings_table(findings: Sequence[Finding]) -> str:
    """Numbers over several studies."""
    return table(
        ("what", "value (95 % interval)", "studies", "interval drawn from"),
        (
            (item.statement, with_interval(item.estimate, 3), str(item.studies), f"{item.estimate.count} {item.unit}")
            for item in findings
        ),
    )


def sources_table(rows: Sequence[StudyRow]) -> str:
    """Each source: who is in it, and mean results."""
    lines = []
    for source in dict.fromkeys(row.source for row in rows):
        members = [row for row in rows if row.source == source]
        lines.append(
            (
                source,
                "no: training could use it" if members[0].training_source else "yes",
                f"{len(members)} of {len({row.patient for row in members})}",
                ", ".join(dict.fromkeys(_condition(row) for row in members)),
                number(_mean(row.default_lungs.dice for row in members if row.default_lungs is not None), 3),
                number(_mean(row.lesions.dice for row in members if row.lesions is not None)),
                percent(_mean(row.lesions.share for row in members if row.lesions is not None)),
                str(sum(row.error is not None for row in members)),
            )
        )
    return table(
        (
            "source",
            "external",
            "studies of patients",
            "condition",
            "lung Dice",
            "lesion Dice",
            "lesion share",
            "failed",
        ),
        lines,
    )


def studies_table(rows: Sequence[StudyRow]) -> str:
    """Lungs and lesions, study by study."""
    lines = []
    for row in rows:
        lungs, morphology, lesions = row.default_lungs, _other(row), row.lesions
        spacing = NOTHING if row.spacing_mm is None else " x ".join(f"{step:g}" for step in row.spacing_mm)
        lines.append(
            (
                row.name,
                _condition(row),
                f"{row.slices or NOTHING} ({spacing})",
                NOTHING if lungs is None else f"{lungs.method} {number(lungs.dice, 3)}",
                _sides(lungs),
                number(morphology.dice if morphology is not None else None, 3),
                percent(lungs.lesions_kept if lungs is not None else None),
                percent(morphology.lesions_kept if morphology is not None else None),
                percent(lesions.share if lesions is not None else None),
                percent(lesions.true_share if lesions is not None else None),
                number(lesions.dice if lesions is not None else None),
                number(lesions.surface_distance_mm if lesions is not None else None, 1),
                number(lesions.pointing if lesions is not None else None),
                number(_default_seconds(row), 0),
            )
        )
    return table(
        (
            "study", "condition", "slices (mm)", "lungs, Dice", "right, left", "morphology, Dice", "lesion kept",
            "by morphology", "lesion share", "drawn share", "lesion Dice", "surface mm", "pointing", "seconds",
        ),
        lines,
    )  # fmt: skip


def slices_table(rows: Sequence[StudyRow]) -> str:
    """Infected slices, for the studies with labels of slices."""
    lines = []
    for row in rows:
        found = row.lesions.slices if row.lesions is not None else None
        if found is not None:
            lines.append(
                (
                    row.name,
                    f"{found.infected} of {found.count}",
                    with_interval(found.auc),
                    with_interval(found.share_auc),
                    with_interval(found.density_auc),
                    str(found.flagged),
                    with_interval(found.sensitivity),
                    with_interval(found.specificity),
                )
            )
    return table(
        (
            "study", "infected slices", "AUC by expected area", "by share", "without a network", "flagged",
            "sensitivity", "specificity",
        ),
        lines,
    )  # fmt: skip


def classification_table(rows: Sequence[StudyRow]) -> str:
    """What each system says of each study, and with the lungs replaced."""
    lines = []
    for system, configuration in systems_of(rows):
        for row in rows:
            said = classification_of(row, system, configuration)
            if said is not None:
                lines.append(
                    (
                        f"{system} ({configuration})",
                        row.name,
                        _condition(row),
                        number(said.score, 3),
                        number(said.probability),
                        said.no_probability_because or NOTHING,
                        number(said.threshold),
                        number(said.blanked_score, 3),
                        number(said.out_of_distribution),
                        number(said.seconds, 1),
                    )
                )
    return table(
        (
            "system", "study", "condition", "score", "probability", "why none", "operating point",
            "score, lungs replaced", "out of distribution", "seconds",
        ),
        lines,
    )  # fmt: skip


def calibration_lines(rows: Sequence[StudyRow]) -> list[str]:
    """What the probabilities of each system were calibrated on; systems without probabilities are left out."""
    lines = []
    for system, configuration in systems_of(rows):
        said = (classification_of(row, system, configuration) for row in rows)
        for data in dict.fromkeys(item.calibrated_on for item in said if item is not None and item.calibrated_on):
            lines.append(f"- {system} ({configuration}): probabilities were calibrated on {data}")
    return lines


def sources_test_table(measurement: Measurement) -> str:
    """How well the source of a study can be told."""
    return table(
        ("told from", "studies", "sources", "accuracy", "by chance", "p"),
        (
            (
                item.features,
                str(item.studies),
                ", ".join(item.sources),
                percent(item.accuracy),
                percent(item.chance),
                number(item.p_value, 3),
            )
            for item in measurement.source_tests
        ),
    )


def _condition(row: StudyRow) -> str:
    return row.condition.value if row.condition_stated else f"{Condition(row.condition).value} (assumed)"


def _other(row: StudyRow) -> LungRow | None:
    return next((item for item in row.lungs if not item.default and item.error is None), None)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _sides(lungs: LungRow | None) -> str:
    """Dice of the right and the left lung, or a dash where no sides were drawn."""
    if lungs is None or lungs.right_dice is None:
        return NOTHING
    return f"{number(lungs.right_dice, 3)}, {number(lungs.left_dice, 3)}"


def _default_seconds(row: StudyRow) -> float | None:
    """Seconds of the default methods for lungs and lesions; None if one of them did not run or failed."""
    lungs, lesions = row.default_lungs, row.lesions
    if lungs is None or lesions is None or lesions.error is not None:
        return None
    return lungs.seconds + lesions.seconds
