"""Measuring what one classification system says of one study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from covid_bert.evaluation.recording import attempted, recorded
from covid_bert.evaluation.results import ClassificationRow
from covid_bert.lesions import LesionMask
from covid_bert.lungs import LungMask
from covid_bert.systems import ClassificationSystem
from covid_bert.systems.assemble import FINDING
from covid_bert.systems.likeness import UNKNOWN, UNLIKE
from covid_bert.systems.loading import weights_of
from covid_bert.systems.result import StudyResult
from covid_bert.volumes import Volume
from covid_bert.weights.identity import WeightsIdentity

NO_CALIBRATION = "The weights carry no calibration."
OTHER_CALIBRATION = "The calibration was fitted with other weights."


@dataclass(frozen=True, eq=False)
class SegmentedVolume:
    """A volume with its masks.

    Parameters
    ----------
    volume
        In HU.
    lungs
        On its grid.
    lesions
        Likewise; None where there are none to give.
    """

    volume: Volume
    lungs: LungMask
    lesions: LesionMask | None


def classification_row(
    system: ClassificationSystem[Any],
    study: SegmentedVolume,
    blanked: SegmentedVolume | None,
    weights: list[WeightsIdentity],
    failures: list[str],
) -> ClassificationRow:
    """Classify a study, and once more with its lungs replaced.

    Parameters
    ----------
    system
        With installed weights.
    study, blanked
        The study, and what `covid_bert.evaluation.probes.blank_lungs` makes of it; None to leave that out.
    weights, failures
        Get the weights that took part, and the sentence of a second classification that failed.
    """
    record: dict[str, Any] = {"system": system.NAME, "configuration": system.configuration.name}
    with recorded(record):
        result = system.classify(study.volume, study.lungs, study.lesions).result
        weights += result.provenance.weights
        record |= {
            "score": result.class_scores[FINDING],
            "weights_state": result.weights_state,
            "out_of_distribution": result.out_of_distribution_score,
            "warnings": list(result.warnings),
        }
        if result.calibrated_probability is not None:
            record["probability"] = result.calibrated_probability.probability
            record["calibrated_on"] = result.calibrated_probability.calibrated_on
            record["threshold"] = result.calibrated_probability.threshold
        else:
            record["no_probability_because"] = why_no_probability(result, carries_calibration(system))
    if blanked is not None and "error" not in record:
        with attempted(f"{system.NAME} ({system.configuration.name}), lungs replaced", failures):
            again = system.classify(blanked.volume, blanked.lungs, blanked.lesions).result
            record["blanked_score"] = again.class_scores[FINDING]
    return ClassificationRow(**record)


def carries_calibration(system: ClassificationSystem[Any]) -> bool:
    """Whether the weights of the network that decides carry a temperature and an operating point."""
    weights = weights_of(system.configuration).weights[system.decisive_parts[-1]]
    if weights is None:
        return False
    return weights.manifest.calibration is not None and weights.manifest.operating_point is not None


def why_no_probability(result: StudyResult, calibrated: bool) -> str:
    """Why a result has no probability.

    Parameters
    ----------
    result
        Without one.
    calibrated
        Whether the weights carry a calibration.
    """
    if not calibrated:
        return NO_CALIBRATION
    unlike = [warning for warning in result.warnings if warning.startswith((UNLIKE, UNKNOWN))]
    return " ".join(unlike) or OTHER_CALIBRATION
