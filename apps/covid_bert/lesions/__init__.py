"""Lesions: ground-glass and consolidation inside the lungs, and measurements of them."""

from covid_bert.lesions.mask import CONSOLIDATION, GROUND_GLASS, LESION_LABELS, LesionMask
from covid_bert.lesions.measurements import LesionMeasurements, measure_lesions
from covid_bert.lesions.network import check_possible, require_lesions, segment_lesions, why_not

__all__ = [
    "CONSOLIDATION",
    "GROUND_GLASS",
    "LESION_LABELS",
    "LesionMask",
    "LesionMeasurements",
    "check_possible",
    "measure_lesions",
    "require_lesions",
    "segment_lesions",
    "why_not",
]
