"""Lungs: masks of the right and left lung, the slices with open lungs, and measurements."""

from __future__ import annotations

from dataclasses import replace

from covid_bert.errors import ParameterError, WeightsError
from covid_bert.lungs import gray_level, morphological, r231, unet
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
from covid_bert.segmentation import LoadedSegmenter
from covid_bert.volumes.volume import Unit, Volume

METHODS = ("unet", "morphological", "r231")
# What a user may ask for.
METHOD_CHOICES = ("auto", *METHODS)
# The weights, if they are live, that the result of a choice depends on.
WEIGHTS_BY_METHOD = {"auto": unet.WEIGHTS_NAME, "unet": unet.WEIGHTS_NAME, "r231": r231.WEIGHTS_NAME}

__all__ = [
    "HU_CLASSES",
    "LEFT_LUNG",
    "LUNG_LABELS",
    "METHODS",
    "METHOD_CHOICES",
    "RIGHT_LUNG",
    "SELECTION_RULES",
    "WEIGHTS_BY_METHOD",
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
    method: str = "auto",
    progress: Progress | None = None,
    *,
    device: str = "auto",
) -> LungMask:
    """Segment the right and the left lung of a chest CT.

    Parameters
    ----------
    volume
        In HU, or slice images in grey levels.
    method
        ``auto``: ``unet`` where it is possible and its weights are live, else ``morphological``; damaged weights are
        noted in the warnings.
        ``unet``: by the default network; HU with known voxel size only.
        ``morphological``: by thresholds and morphology, in three dimensions on HU, slice by slice on grey levels.
        ``r231``: by the U-Net of the optional package lungmask; HU only.
    progress
        Told the finished fraction of the stage ``lungs``; may cancel.
    device
        For the networks: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Returns
    -------
    LungMask
        On the volume's own grid.

    Raises
    ------
    NotChestError
        If no lungs are found.
    InputError
        If the method needs HU, or a voxel size, that the volume does not have.
    ParameterError
        If there is no such method or device.
    MissingProgramError, WeightsError
        If ``r231`` lacks its package, or a network that was asked for its weights.
    CancelledError
        If `progress` was cancelled.
    """
    if method not in METHOD_CHOICES:
        raise ParameterError(f"There is no lung method '{method}'.", f"Choose one of {', '.join(METHOD_CHOICES)}.")
    if method == "r231":
        return r231.segment(volume, progress, device)
    segmenter, notes = _default_segmenter(volume, device) if method == "auto" else (None, ())
    if method == "unet" or segmenter is not None:
        lungs = unet.segment(volume, progress, segmenter=segmenter, device=device)
    else:
        segment = gray_level.segment if volume.unit is Unit.GRAY8 else morphological.segment
        lungs = segment(volume, progress)
    refuse_noise(volume, lungs.array)
    return replace(lungs, warnings=(*lungs.warnings, *notes))


def _default_segmenter(volume: Volume, device: str) -> tuple[LoadedSegmenter | None, tuple[str, ...]]:
    """The network of ``unet`` if it can be used on a volume, and a warning if its weights are damaged."""
    if not unet.is_possible(volume):
        return None, ()
    try:
        return unet.default_segmenter(device), ()
    except WeightsError as error:
        return None, (f"The default lung network could not be used, and the lungs come from morphology: {error}",)
