"""Measuring one study: lungs, lesions, slices, classification, and the probes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from covid_bert.evaluation.classification_measurement import SegmentedVolume, classification_row
from covid_bert.evaluation.metrics import dice, mean_surface_distance, pointing_game, share_inside
from covid_bert.evaluation.probes import blank_lungs, image_descriptor
from covid_bert.evaluation.recording import attempted, recorded
from covid_bert.evaluation.results import LesionRow, LungRow, StudyRow
from covid_bert.evaluation.slices import expected_lesion_area, slice_row
from covid_bert.evaluation.studies import Condition, ExternalStudy, StudyFacts
from covid_bert.lesions import CONSOLIDATION, GROUND_GLASS, LesionMask, measure_lesions, require_lesions
from covid_bert.lungs import LEFT_LUNG, RIGHT_LUNG, LungMask, measure_lungs, segment_lungs
from covid_bert.systems import ClassificationSystem
from covid_bert.volumes import Volume
from covid_bert.weights.identity import WeightsIdentity

COMPARISON_METHOD = "morphological"
INFECTED = (Condition.COVID_19, Condition.PNEUMONIA)


@dataclass(frozen=True, eq=False)
class MeasuredStudy:
    """A study's record with the masks that it rests on.

    Parameters
    ----------
    row
        The record; a stage that failed holds its error, and smaller parts are among its failures.
    lungs, lesions
        Of the default methods, for pictures; None where they failed.
    weights
        All that took part.
    """

    row: StudyRow
    lungs: LungMask | None
    lesions: LesionMask | None
    weights: list[WeightsIdentity]


def measure_study(study: ExternalStudy, systems: Iterable[ClassificationSystem[Any]]) -> MeasuredStudy:
    """Measure one study.

    Parameters
    ----------
    study
        With whatever masks and labels its source gives.
    systems
        Classification systems with installed weights.

    Returns
    -------
    MeasuredStudy
        Errors of a stage stand in its record.
    """
    volume, weights = study.volume, list[WeightsIdentity]()
    record: dict[str, Any] = facts_of(study.facts) | {
        "slices": volume.shape[0],
        "rows": volume.shape[1],
        "columns": volume.shape[2],
        "unit": volume.unit,
        "spacing_mm": [round(step, 4) for step in volume.spacing],
        "warnings": list(volume.warnings),
    }
    failures: list[str] = []
    lesions: LesionMask | None = None
    with recorded(record):
        rows, lungs = _lungs(study, failures)
        record["lungs"] = rows
        if lungs is None:
            record["error"] = rows[0].error
        else:
            with attempted("description of the images", failures):
                record["descriptor"] = image_descriptor(volume, lungs)
            record["lesions"], lesions = _lesions(study, lungs, failures)
            blanked = None
            if study.facts.condition in INFECTED:
                with attempted("lungs replaced", failures):
                    blanked, record["blanked_lesion_share"] = _blanked(volume, lungs, with_lesions=lesions is not None)
            record["classifications"] = [
                classification_row(system, SegmentedVolume(volume, lungs, lesions), blanked, weights, failures)
                for system in systems
            ]
    weights += [mask.weights for mask in (lungs, lesions) if mask is not None and mask.weights is not None]
    return MeasuredStudy(StudyRow(**record, failures=failures), lungs, lesions, weights)


def facts_of(facts: StudyFacts) -> dict[str, Any]:
    """What is known of a study before it is read, as fields of its record."""
    return asdict(facts)


def _lungs(study: ExternalStudy, failures: list[str]) -> tuple[list[LungRow], LungMask | None]:
    """Lungs by the default method, and by morphology for comparison; the default's come first."""
    rows: list[LungRow] = []
    found: LungMask | None = None
    for method in (None, COMPARISON_METHOD):
        if method is not None and rows[0].method == method:
            break
        record: dict[str, Any] = {"method": method or "default", "default": method is None}
        with recorded(record):
            lungs = segment_lungs(study.volume) if method is None else segment_lungs(study.volume, method)
            record["method"], record["warnings"] = lungs.method, list(lungs.warnings)
            if method is None:
                found = lungs
        if "error" not in record:
            with attempted(f"comparison of the lungs by {lungs.method}", failures):
                record |= _lung_metrics(study, lungs)
        rows.append(LungRow(**record))
    return rows, found


def _lung_metrics(study: ExternalStudy, lungs: LungMask) -> dict[str, Any]:
    """Volume, and agreement with what was drawn, as fields of the record."""
    found: dict[str, Any] = {"milliliters": measure_lungs(study.volume, lungs).total_ml}
    truth = study.lungs
    if truth is not None:
        found["dice"] = dice(lungs.array, truth)
        found["surface_distance_mm"] = mean_surface_distance(lungs.array, truth, study.volume.spacing)
        # Where sides are not told apart, all drawn lung has the label of the right one.
        if (truth == LEFT_LUNG).any():
            found["right_dice"] = dice(lungs.array == RIGHT_LUNG, truth == RIGHT_LUNG)
            found["left_dice"] = dice(lungs.array == LEFT_LUNG, truth == LEFT_LUNG)
    if study.lesions is not None:
        found["lesions_kept"] = share_inside(study.lesions, lungs.array)
    return found


def _lesions(study: ExternalStudy, lungs: LungMask, failures: list[str]) -> tuple[LesionRow, LesionMask | None]:
    record: dict[str, Any] = {}
    lesions: LesionMask | None = None
    with recorded(record):
        lesions = require_lesions(study.volume, lungs)
    if lesions is None:
        return LesionRow(**record), None
    record["warnings"] = list(lesions.warnings)
    with attempted("measurement of the lesions", failures):
        found = measure_lesions(study.volume, lungs, lesions)
        area = expected_lesion_area(study.volume, lesions)
        record |= {
            "share": found.share,
            "ground_glass_ml": _sum(found.right_ground_glass_ml, found.left_ground_glass_ml),
            "consolidation_ml": _sum(found.right_consolidation_ml, found.left_consolidation_ml),
            "count": found.count,
            "lower_share": found.lower_share,
            "peripheral_share": found.peripheral_share,
            "share_by_slice": _rounded(found.share_by_slice, 5),
            "area_by_slice": _rounded(np.where(np.isnan(found.share_by_slice), np.nan, area), 4),
        }
        if study.slice_labels is not None:
            with attempted("slices", failures):
                record["slices"] = slice_row(study.volume, lungs, area, found.share_by_slice, study.slice_labels)
    if study.lesions is not None:
        with attempted("comparison of the lesions", failures):
            record |= _against_truth(study, lesions)
    return LesionRow(**record), lesions


def _rounded(values: npt.NDArray[np.float64], digits: int) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), digits) for value in values]


def _blanked(volume: Volume, lungs: LungMask, *, with_lesions: bool) -> tuple[SegmentedVolume, float | None]:
    """The study with its lungs replaced, and the lesion share that is left."""
    blank = blank_lungs(volume, lungs)
    if not with_lesions:
        return SegmentedVolume(blank, lungs, None), None
    lesions = require_lesions(blank, lungs)
    return SegmentedVolume(blank, lungs, lesions), measure_lesions(blank, lungs, lesions).share


def _against_truth(study: ExternalStudy, lesions: LesionMask) -> dict[str, Any]:
    truth = study.lesions
    assert truth is not None
    lung_voxels = 0 if study.lungs is None else int(np.count_nonzero(study.lungs))
    return {
        "true_share": int(np.count_nonzero(truth)) / lung_voxels if lung_voxels else None,
        "dice": dice(lesions.array, truth),
        "ground_glass_dice": dice(lesions.array == GROUND_GLASS, truth == GROUND_GLASS),
        "consolidation_dice": dice(lesions.array == CONSOLIDATION, truth == CONSOLIDATION),
        "surface_distance_mm": mean_surface_distance(lesions.array, truth, study.volume.spacing),
        "pointing": pointing_game(lesions.probability, truth),
    }


def _sum(*milliliters: float | None) -> float | None:
    known = [value for value in milliliters if value is not None]
    return sum(known) if known else None
