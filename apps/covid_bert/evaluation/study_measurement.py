"""Measuring one study: lungs, lesions, slices, classification, and the probes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from covid_bert.errors import CancelledError, CovidBertError
from covid_bert.evaluation.metrics import dice, mean_surface_distance, pointing_game
from covid_bert.evaluation.probes import blank_lungs, image_descriptor
from covid_bert.evaluation.results import ClassificationRow, LesionRow, LungRow, StudyRow
from covid_bert.evaluation.slices import slice_row
from covid_bert.evaluation.studies import Condition, ExternalStudy, StudyFacts
from covid_bert.lesions import CONSOLIDATION, GROUND_GLASS, LesionMask, measure_lesions, require_lesions
from covid_bert.lungs import LungMask, measure_lungs, segment_lungs
from covid_bert.systems import ClassificationSystem
from covid_bert.systems.assemble import FINDING
from covid_bert.volumes import Volume
from covid_bert.weights.identity import WeightsIdentity

COMPARISON_METHOD = "morphological"
INFECTED = (Condition.COVID_19, Condition.PNEUMONIA)


@contextmanager
def recorded(record: dict[str, Any]) -> Iterator[None]:
    """Write the seconds of a block, and the sentence of an error that ends it, into a record.

    One bad study or stage must not end a measurement of hours, and must not be passed over in silence either.
    """
    start = time.perf_counter()
    try:
        yield
    except CancelledError:
        raise
    except CovidBertError as error:
        record["error"] = str(error)
    except Exception as error:
        record["error"] = f"An unexpected error ({type(error).__name__}): {error}"
    finally:
        record["seconds"] = round(time.perf_counter() - start, 3)


@dataclass(frozen=True, eq=False)
class MeasuredStudy:
    """A study's record with the masks that it rests on.

    Parameters
    ----------
    row
        The record; a stage that failed holds its error.
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
        "spacing_mm": [round(step, 4) for step in volume.spacing],
        "warnings": list(volume.warnings),
    }
    lesions: LesionMask | None = None
    with recorded(record):
        rows, lungs = _lungs(study)
        record["lungs"] = rows
        if lungs is None:
            record["error"] = rows[0].error
        else:
            record["descriptor"] = image_descriptor(volume, lungs)
            record["lesions"], lesions = _lesions(study, lungs)
            blank = blank_lungs(volume, lungs) if study.facts.condition in INFECTED else None
            blank_lesions = None
            if blank is not None and lesions is not None:
                blank_lesions = require_lesions(blank, lungs)
                record["blanked_lesion_share"] = measure_lesions(blank, lungs, blank_lesions).share
            record["classifications"] = [
                _classification(system, study, (lungs, lesions), (blank, blank_lesions), weights) for system in systems
            ]
    weights += [mask.weights for mask in (lungs, lesions) if mask is not None and mask.weights is not None]
    return MeasuredStudy(StudyRow(**record), lungs, lesions, weights)


def facts_of(facts: StudyFacts) -> dict[str, Any]:
    """What is known of a study before it is read, as fields of its record."""
    return asdict(facts)


def _lungs(study: ExternalStudy) -> tuple[list[LungRow], LungMask | None]:
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
            record["milliliters"] = measure_lungs(study.volume, lungs).total_ml
            if study.lungs is not None:
                record["dice"] = dice(lungs.array, study.lungs)
                record["surface_distance_mm"] = mean_surface_distance(lungs.array, study.lungs, study.volume.spacing)
        rows.append(LungRow(**record))
    return rows, found


def _lesions(study: ExternalStudy, lungs: LungMask) -> tuple[LesionRow, LesionMask | None]:
    record: dict[str, Any] = {}
    lesions: LesionMask | None = None
    with recorded(record):
        lesions = require_lesions(study.volume, lungs)
    if lesions is None:
        return LesionRow(**record), None
    found = measure_lesions(study.volume, lungs, lesions)
    record |= {
        "warnings": list(lesions.warnings),
        "share": found.share,
        "ground_glass_ml": _sum(found.right_ground_glass_ml, found.left_ground_glass_ml),
        "consolidation_ml": _sum(found.right_consolidation_ml, found.left_consolidation_ml),
        "count": found.count,
        "lower_share": found.lower_share,
        "peripheral_share": found.peripheral_share,
        "share_by_slice": [None if np.isnan(share) else round(float(share), 5) for share in found.share_by_slice],
    }
    if study.slice_labels is not None:
        record["slices"] = slice_row(study.volume, lungs, found.share_by_slice, study.slice_labels)
    if study.lesions is not None:
        record |= _against_truth(study, lesions)
    return LesionRow(**record), lesions


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


def _classification(
    system: ClassificationSystem[Any],
    study: ExternalStudy,
    masks: tuple[LungMask, LesionMask | None],
    blanked: tuple[Volume | None, LesionMask | None],
    weights: list[WeightsIdentity],
) -> ClassificationRow:
    record: dict[str, Any] = {"system": system.NAME, "configuration": system.configuration.name}
    with recorded(record):
        made = system.classify(study.volume, *masks)
        result = made.result
        weights += result.provenance.weights
        record |= {
            "score": result.class_scores[FINDING],
            "weights_state": result.weights_state,
            "out_of_distribution": result.out_of_distribution_score,
            "warnings": list(result.warnings),
        }
        if result.calibrated_probability is not None:
            record["probability"] = result.calibrated_probability.probability
            record["threshold"] = result.calibrated_probability.threshold
        else:
            said = [warning for warning in result.warnings if "probability" in warning]
            record["no_probability_because"] = " ".join(said) or "The weights carry no calibration."
        if study.lesions is not None:
            record["pointing"] = pointing_game(made.location, study.lesions)
    blank, blank_lesions = blanked
    if blank is not None and "error" not in record:
        probe: dict[str, Any] = {}
        with recorded(probe):
            record["blanked_score"] = system.classify(blank, masks[0], blank_lesions).result.class_scores[FINDING]
        if "error" in probe:
            record["warnings"] = [*record["warnings"], f"With the lungs replaced: {probe['error']}"]
    return ClassificationRow(**record)


def _sum(*milliliters: float | None) -> float | None:
    known = [value for value in milliliters if value is not None]
    return sum(known) if known else None
