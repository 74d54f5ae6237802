"""Lungs: masks of the right and left lung, the slices with open lungs, and measurements."""

from __future__ import annotations

from pathlib import Path

from covid_bert.errors import ParameterError
from covid_bert.lungs import gray_level, morphological
from covid_bert.lungs.mask import LEFT_LUNG, LUNG_LABELS, RIGHT_LUNG, LungMask
from covid_bert.lungs.measurements import HU_CLASSES, LungMeasurements, measure_lungs
from covid_bert.lungs.plausibility import refuse_noise
from covid_bert.lungs.selection import (
    SELECTION_RULES,
    lung_area,
    lung_share,
    open_lung_range,
    open_lung_slices,
)
from covid_bert.progress import Progress
from covid_bert.volumes.volume import Unit, Volume

METHODS = ("morphological", "r231")

__all__ = [
    "HU_CLASSES",
    "LEFT_LUNG",
    "LUNG_LABELS",
    "METHODS",
    "RIGHT_LUNG",
    "SELECTION_RULES",
    "LungMask",
    "LungMeasurements",
    "lung_area",
    "lung_share",
    "measure_lungs",
    "open_lung_range",
    "open_lung_slices",
    "segment_lungs",
]


def segment_lungs(
    volume: Volume,
    method: str = "morphological",
    progress: Progress | None = None,
    *,
    weights_path: Path | None = None,
) -> LungMask:
    """Segment the right and the left lung of a chest CT.

    Parameters
    ----------
    volume
        In HU, or slice images in grey levels.
    method
        ``morphological``: by thresholds and morphology, in three dimensions on HU, slice by slice on grey levels.
        ``r231``: by the U-Net of the optional package lungmask; HU only.
    progress
        Told the finished fraction of the stage ``lungs``; may cancel.
    weights_path
        Weights for ``r231`` instead of the installed ones.

    Returns
    -------
    LungMask
        On the volume's own grid.

    Raises
    ------
    NotChestError
        If no lungs are found.
    ParameterError
        If there is no such method.
    MissingProgramError, WeightsError
        If ``r231`` lacks its package or its weights.
    CancelledError
        If `progress` was cancelled.
    """
    if method == "r231":
        # Imported late: only this method needs torch.
        from covid_bert.lungs import r231

        return r231.segment(volume, weights_path, progress)
    if method != "morphological":
        raise ParameterError(f"There is no lung method '{method}'.", f"Choose one of {', '.join(METHODS)}.")
    segment = gray_level.segment if volume.unit is Unit.GRAY8 else morphological.segment
    lungs = segment(volume, progress)
    refuse_noise(volume, lungs.array)
    return lungs
