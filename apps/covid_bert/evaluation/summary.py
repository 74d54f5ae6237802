"""What follows from all studies together: findings with intervals, targets, and the test of sources."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from covid_bert.evaluation.estimates import Estimate, mean_estimate, neighbouring_blocks, wilson
from covid_bert.evaluation.metrics import auc_estimate, grouped_auc, sensitivity_specificity
from covid_bert.evaluation.probes import source_test
from covid_bert.evaluation.results import ClassificationRow, Finding, SourceTest, StudyRow, Target
from covid_bert.evaluation.slices import BLOCK_MILLIMETERS
from covid_bert.evaluation.studies import Condition
from covid_bert.evaluation.study_measurement import COMPARISON_METHOD, INFECTED

Value = Callable[[StudyRow], float | None]

LESION_DICE_AIM = 0.75
LUNG_DICE_AIM = 0.97
SLICE_AUC_AIMS = {"P001": 0.95, "cap001": 0.85}


def findings(rows: Sequence[StudyRow]) -> list[Finding]:
    """Return all numbers over several studies, in a fixed order; those without any study are left out."""
    external = [row for row in rows if not row.training_source]
    inside = [row for row in rows if row.training_source]
    found = [
        _mean("lesion_dice", "Dice of any lesion, external studies", external, _lesion("dice")),
        _mean("ground_glass_dice", "Dice of ground-glass, external studies", external, _lesion("ground_glass_dice")),
        _mean("consolidation_dice", "Dice of consolidation, external studies", external, _lesion("consolidation_dice")),
        _mean(
            "lesion_surface_distance",
            "Surface distance of lesions in mm, external studies",
            external,
            _lesion("surface_distance_mm"),
        ),
        _mean("lesion_share_error", "Error of the lesion share of the lungs, external studies", external, share_error),
        _mean("pointing", "Maximum of the lesion probability in a true lesion", external, _lesion("pointing")),
        _mean("pointing_chance", "The same for a place drawn at random in the lungs", external, _pointing_chance),
        _mean("lung_dice", "Dice of the lungs by the default method, external studies", external, _lung_dice),
        _mean("lung_dice_training", "The same, sources that training could use", inside, _lung_dice),
        _mean("lung_dice_morphological", "Dice of the lungs by morphology, external studies", external, _morphology),
        _mean("lung_dice_morphological_training", "The same, sources that training could use", inside, _morphology),
        _pooled_slices(rows),
        _share_auc("share_auc", "AUC of the lesion share: infected or no pneumonia, all studies", rows),
        _share_auc("share_auc_external", "The same, external studies", external),
    ]
    for system, configuration in systems_of(rows):
        found += _system_findings(rows, system, configuration)
    return [item for item in found if item is not None]


def targets(rows: Sequence[StudyRow], made: Sequence[Finding]) -> list[Target]:
    """Compare with what the default model should reach; what could not be measured is neither reached nor missed."""
    by_key = {item.key: item.estimate.value for item in made}
    found = [_target("lesion_dice", "Mean lesion Dice on external studies", by_key.get("lesion_dice"), LESION_DICE_AIM)]
    for name, aim in SLICE_AUC_AIMS.items():
        row = next((row for row in rows if row.name == name), None)
        slices = row.lesions.slices if row is not None and row.lesions is not None else None
        value = slices.auc.value if slices is not None and slices.auc is not None else None
        found.append(_target(f"slice_auc_{name}", f"AUC of infected slices in {name}", value, aim))
    normal, infected = _shares(rows, (Condition.NO_PNEUMONIA,)), _shares(rows, INFECTED)
    found.append(
        _target(
            "normals_below_infected",
            "Largest lesion share of a study without pneumonia, not above the smallest of an infected one",
            max(normal, default=None),
            min(infected, default=None),
            at_least=False,
        )
    )
    found.append(_target("lung_dice", "Mean lung Dice on external studies", by_key.get("lung_dice"), LUNG_DICE_AIM))
    return found


def source_tests(rows: Sequence[StudyRow]) -> list[SourceTest]:
    """Try to tell the source from the images, from the lesions, and from the scores."""
    features: dict[str, Callable[[StudyRow], dict[str, float] | None]] = {
        "images: spacing, field of view, lung density, noise": lambda row: row.descriptor or None,
        "lesions: share, consolidated part, place": _lesion_features,
        "scores of the classification systems": _score_features,
    }
    return [test for name, describe in features.items() if (test := _source_test(name, rows, describe)) is not None]


def systems_of(rows: Sequence[StudyRow]) -> list[tuple[str, str]]:
    """Systems and configurations that classified, in the order of their first appearance."""
    return list(dict.fromkeys((item.system, item.configuration) for row in rows for item in row.classifications))


def classification_of(row: StudyRow, system: str, configuration: str) -> ClassificationRow | None:
    """What one system said of a study; None if it failed or did not run."""
    for item in row.classifications:
        if (item.system, item.configuration) == (system, configuration) and item.error is None:
            return item
    return None


def share_error(row: StudyRow) -> float | None:
    """Absolute error of the lesion share of the lungs."""
    lesions = row.lesions
    if lesions is None or lesions.share is None or lesions.true_share is None:
        return None
    return abs(lesions.share - lesions.true_share)


def _lesion(name: str) -> Value:
    return lambda row: getattr(row.lesions, name) if row.lesions is not None else None


def _pointing_chance(row: StudyRow) -> float | None:
    """Share of true lesion in the lungs, for the studies that took part in the pointing game."""
    return row.lesions.true_share if row.lesions is not None and row.lesions.pointing is not None else None


def _lung_dice(row: StudyRow) -> float | None:
    return row.default_lungs.dice if row.default_lungs is not None else None


def _morphology(row: StudyRow) -> float | None:
    return next((lungs.dice for lungs in row.lungs if lungs.method == COMPARISON_METHOD), None)


def _mean(key: str, statement: str, rows: Sequence[StudyRow], value: Value) -> Finding | None:
    pairs = [(found, row.patient) for row in rows if (found := value(row)) is not None]
    if not pairs:
        return None
    values, patients = zip(*pairs, strict=True)
    return Finding(
        key=key, statement=statement, estimate=mean_estimate(values, patients), studies=len(pairs), unit="patients"
    )


def _pooled_slices(rows: Sequence[StudyRow]) -> Finding | None:
    """AUC over the slices of all studies with labels, drawn in blocks within each study."""
    scores: list[float] = []
    labels: list[bool] = []
    blocks = []
    studies = 0
    for row in rows:
        if row.lesions is None or row.lesions.slices is None or row.spacing_mm is None:
            continue
        held = [
            (share, label)
            for share, label in zip(row.lesions.share_by_slice, row.lesions.slices.labels, strict=True)
            if share is not None
        ]
        length = max(1, round(BLOCK_MILLIMETERS / row.spacing_mm[0]))
        blocks += [block + len(scores) for block in neighbouring_blocks(len(held), length)]
        scores += [share for share, _ in held]
        labels += [label for _, label in held]
        studies += 1
    estimate = auc_estimate(scores, labels, blocks) if scores else None
    if estimate is None:
        return None
    statement = "AUC of infected slices by their lesion share, slices of all studies with labels together"
    return Finding(key="slice_auc", statement=statement, estimate=estimate, studies=studies, unit="blocks of slices")


def _shares(rows: Sequence[StudyRow], conditions: Sequence[Condition]) -> list[float]:
    return [
        row.lesions.share
        for row in rows
        if row.condition in conditions and row.lesions is not None and row.lesions.share is not None
    ]


def _share_auc(key: str, statement: str, rows: Sequence[StudyRow]) -> Finding | None:
    return _auc(key, statement, rows, _lesion("share"), INFECTED)


def _auc(
    key: str, statement: str, rows: Sequence[StudyRow], value: Value, positives: Sequence[Condition]
) -> Finding | None:
    counted = [
        (found, row.condition in positives, row.patient)
        for row in rows
        if row.condition in (*positives, Condition.NO_PNEUMONIA) and (found := value(row)) is not None
    ]
    if not counted:
        return None
    scores, labels, patients = zip(*counted, strict=True)
    estimate = grouped_auc(scores, labels, patients)
    if estimate is None:
        return None
    return Finding(key=key, statement=statement, estimate=estimate, studies=len(counted), unit="patients")


def _system_findings(rows: Sequence[StudyRow], system: str, configuration: str) -> list[Finding | None]:
    title = f"{system} ({configuration})"

    def score(row: StudyRow) -> float | None:
        said = classification_of(row, system, configuration)
        return said.score if said is not None else None

    key = f"{system}_{configuration}"
    found = [
        _auc(f"{key}_auc", f"{title}: AUC of the score, COVID-19 or no pneumonia", rows, score, (Condition.COVID_19,))
    ]
    # The interval of a proportion wants independent trials: one study of each patient.
    said = [
        (item, row)
        for row in {row.patient: row for row in reversed(rows)}.values()
        if (item := classification_of(row, system, configuration)) is not None
    ]
    decided = [
        (item.probability >= item.threshold, row.condition is Condition.COVID_19)
        for item, row in said
        if item.probability is not None
        and item.threshold is not None
        and row.condition in (Condition.COVID_19, Condition.NO_PNEUMONIA)
    ]
    if decided:
        rates = sensitivity_specificity(*zip(*decided, strict=True))
        for name, rate in zip(("sensitivity for COVID-19", "specificity for no pneumonia"), rates, strict=True):
            found.append(_proportion(f"{key}_{name.split()[0]}", f"{title}: {name} at its operating point", rate))
    fell = [
        item.blanked_score < item.score for item, _ in said if item.blanked_score is not None and item.score is not None
    ]
    if fell:
        statement = f"{title}: infected studies whose score falls when their lungs are replaced by even tissue"
        found.append(_proportion(f"{key}_blanked_fell", statement, wilson(sum(fell), len(fell))))
    return found


def _proportion(key: str, statement: str, rate: Estimate | None) -> Finding | None:
    if rate is None:
        return None
    return Finding(key=key, statement=statement, estimate=rate, studies=rate.count, unit="patients")


def _target(key: str, statement: str, value: float | None, aim: float | None, *, at_least: bool = True) -> Target:
    reached = None
    if value is not None and aim is not None:
        reached = value >= aim if at_least else value <= aim
    return Target(key=key, statement=statement, aim=aim, at_least=at_least, value=value, reached=reached)


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


def _source_test(
    name: str, rows: Sequence[StudyRow], describe: Callable[[StudyRow], dict[str, float] | None]
) -> SourceTest | None:
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
