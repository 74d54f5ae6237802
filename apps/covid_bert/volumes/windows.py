"""Grey windows: from Hounsfield units to the 8-bit pictures that the published systems were trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from covid_bert.errors import ParameterError
from covid_bert.volumes.volume import Unit, Volume


@dataclass(frozen=True)
class Window:
    """A linear grey window: `lower` HU and below become 0, `upper` HU and above become 255.

    Parameters
    ----------
    lower, upper
        Limits in HU, ``lower < upper``.
    name
        Short name, for parameters and records.
    """

    lower: float
    upper: float
    name: str = ""

    def __post_init__(self) -> None:
        if not self.lower < self.upper:
            raise ParameterError(
                f"A window from {self.lower} to {self.upper} HU is empty.",
                "Give a lower limit that is below the upper limit.",
            )


# Level -400, width 1500: the usual lung window, in which COVID-19 slice pictures are exported.
LUNG_WINDOW = Window(-1150.0, 350.0, "lung")
# The window of the public COVID-19 triage pipelines.
TRIAGE_WINDOW = Window(-1000.0, 300.0, "triage")
# The window of context-aware self-supervised pretraining.
CONTEXT_WINDOW = Window(-1024.0, 240.0, "context")
WINDOWS = {window.name: window for window in (LUNG_WINDOW, TRIAGE_WINDOW, CONTEXT_WINDOW)}


def to_gray8(array: npt.NDArray[np.generic], window: Window = LUNG_WINDOW) -> npt.NDArray[np.uint8]:
    """Map Hounsfield units linearly to 0..255, clipped and rounded to the nearest level.

    Parameters
    ----------
    array
        Values in HU, int16 or floating point, of any shape. Works along the first axis, so that the memory needed
        beside the result is that of one slice.
    window
        The grey window.

    Returns
    -------
    uint8 array of the same shape.
    """
    gray = np.empty(array.shape, np.uint8)
    for index, slice_ in enumerate(array):
        gray[index] = (
            _int16_table(window)[slice_.view(np.uint16)] if array.dtype == np.int16 else _scale(slice_, window)
        )
    return gray


def gray8_slices(
    volume: Volume,
    window: Window = LUNG_WINDOW,
    indices: Sequence[int] | npt.NDArray[np.integer] | None = None,
) -> npt.NDArray[np.uint8]:
    """Return chosen slices of a volume as 8-bit grey pictures.

    Parameters
    ----------
    volume
        A volume in HU, or one that holds 8-bit pictures already (its values are then returned unchanged).
    window
        The grey window for volumes in HU.
    indices
        Slice indices, in any order and with repetitions; all slices where it is None.

    Returns
    -------
    uint8 (n, rows, columns), a new array.
    """
    chosen = np.arange(volume.shape[0]) if indices is None else np.asarray(indices, dtype=np.intp)
    if volume.unit is Unit.GRAY8:
        return volume.array[chosen].astype(np.uint8)
    _, rows, columns = volume.shape
    gray = np.empty((len(chosen), rows, columns), np.uint8)
    for position, index in enumerate(chosen):
        gray[position] = to_gray8(volume.array[index, np.newaxis], window)[0]
    return gray


@lru_cache(maxsize=8)
def _int16_table(window: Window) -> npt.NDArray[np.uint8]:
    """Return the grey levels of all 65536 values, in the order of the same bits read as unsigned."""
    return _scale(np.arange(65536, dtype=np.uint16).view(np.int16), window)


def _scale(values: npt.NDArray[np.generic], window: Window) -> npt.NDArray[np.uint8]:
    scaled = (values.astype(np.float64) - window.lower) * (255.0 / (window.upper - window.lower))
    return np.rint(np.clip(scaled, 0.0, 255.0)).astype(np.uint8)
