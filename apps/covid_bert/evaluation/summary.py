"""What follows from all studies together: findings with intervals, and targets."""

from __future__ import annotations

from collections.abc import Sequence

from covid_bert.evaluation.classification_findings import system_findings, systems_of
from covid_bert.evaluation.pooling import Value, auc_finding, mean_finding, pooled_slices_finding
from covid_bert.evaluation.results import Finding, StudyRow, Target
from covid_bert.evaluation.studies import Condition
from covid_bert.evaluation.study_measurement import COMPARISON_METHOD, INFECTED

LESION_DICE_AIM = 0.75
LUNG_DICE_AIM = 0.97
SLICE_AUC_AIMS = {"P001": 0.95, "cap001": 0.85}


def findings(rows: Sequence[StudyRow]) -> list[Finding]:
    """Return all numbers over several studies, in a fixed order; those without any study are left out."""
    external = [row for row in rows if not row.training_source]
    inside = [row for row in rows if row.training_source]
    found = [
        mean_finding("lesion_dice", "Dice of any lesion, external studies", external, _lesion("dice")),
        mean_finding(
            "ground_glass_dice", "Dice of ground-glass, external studies", external, _lesion("ground_glass_dice")
        ),
        mean_finding(
            "consolidation_dice", "Dice of consolidation, external studies", external, _lesion("consolidation_dice")
        ),
        mean_finding(
            "lesion_surface_distance",
            "Surface distance of lesions in mm, external studies",
            external,
            _lesion("surface_distance_mm"),
        ),
        mean_finding(
            "lesion_share_error", "Error of the lesion share of the lungs, external studies", external, share_error
        ),
        mean_finding(
            "pointing",
            "Share of the voxels with the largest lesion probability that lie in a true lesion, external studies",
            external,
            _lesion("pointing"),
        ),
        mean_finding("pointing_chance", "The same for voxels drawn at random in the lungs", external, _pointing_chance),
        mean_finding(
            "lung_dice", "Dice of the lungs by the default method, external studies", external, _default("dice")
        ),
        mean_finding("lung_dice_training", "The same, sources that training could use", inside, _default("dice")),
        mean_finding(
            "lung_dice_morphological",
            "Dice of the lungs by morphology, external studies",
            external,
            _morphology("dice"),
        ),
        mean_finding(
            "lung_dice_morphological_training", "The same, sources that training could use", inside, _morphology("dice")
        ),
        mean_finding(
            "lesions_kept",
            "Drawn lesion inside the lung mask by the default method, external studies",
            external,
            _default("lesions_kept"),
        ),
        mean_finding(
            "lesions_kept_morphological",
            "Drawn lesion inside the lung mask by morphology, external studies",
            external,
            _morphology("lesions_kept"),
        ),
        pooled_slices_finding(rows),
        _share_auc("share_auc", "AUC of the lesion share: infected or no pneumonia, all studies", rows),
        _share_auc("share_auc_external", "The same, external studies", external),
    ]
    for system, configuration in systems_of(rows):
        found += system_findings(rows, system, configuration)
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
    external = [row for row in rows if not row.training_source]
    found += [
        _normals_below_infected("normals_below_infected_external", "external studies", external),
        _normals_below_infected("normals_below_infected", "all studies", rows),
        _target("lung_dice", "Mean lung Dice on external studies", by_key.get("lung_dice"), LUNG_DICE_AIM),
        _target(
            "lesions_kept",
            "Share of drawn lesions kept inside the lungs, not below morphology's",
            by_key.get("lesions_kept"),
            by_key.get("lesions_kept_morphological"),
        ),
    ]
    return found


def _normals_below_infected(key: str, scope: str, rows: Sequence[StudyRow]) -> Target:
    normal, infected = _shares(rows, (Condition.NO_PNEUMONIA,)), _shares(rows, INFECTED)
    return _target(
        key,
        f"Largest lesion share of a study without pneumonia, not above the smallest of an infected one, {scope} "
        f"({len(normal)} without pneumonia, {len(infected)} infected)",
        max(normal, default=None),
        min(infected, default=None),
        at_least=False,
    )


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


def _default(name: str) -> Value:
    """A field of the lungs by the default method."""
    return lambda row: getattr(row.default_lungs, name) if row.default_lungs is not None else None


def _morphology(name: str) -> Value:
    """A field of the lungs by morphology."""

    def of(row: StudyRow) -> float | None:
        lungs = next((item for item in row.lungs if item.method == COMPARISON_METHOD), None)
        return getattr(lungs, name) if lungs is not None else None

    return of


def _shares(rows: Sequence[StudyRow], conditions: Sequence[Condition]) -> list[float]:
    return [
        row.lesions.share
        for row in rows
        if row.condition in conditions and row.lesions is not None and row.lesions.share is not None
    ]


def _share_auc(key: str, statement: str, rows: Sequence[StudyRow]) -> Finding | None:
    return auc_finding(key, statement, rows, _lesion("share"), positives=INFECTED)


def _target(key: str, statement: str, value: float | None, aim: float | None, *, at_least: bool = True) -> Target:
    reached = None
    if value is not None and aim is not None:
        reached = value >= aim if at_least else value <= aim
    return Target(key=key, statement=statement, aim=aim, at_least=at_least, value=value, reached=reached)
