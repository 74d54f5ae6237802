"""Whether what was found can be the lungs of a patient."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from covid_bert.errors import NotChestError
from covid_bert.lungs.grid import FloatArray
from covid_bert.lungs.mask import LUNG_LABELS
from covid_bert.volumes.volume import Unit, Volume

_SMALLEST_LUNGS = 200.0  # ml
_SMALLEST_LUNG_SHARE = 0.05
_LARGEST_LUNGS = 14000.0  # ml
_SLAB_HEIGHT = 120.0  # mm; lower volumes show part of the lungs only
_CUT_OFF_SHARE = 0.2  # of the area of the fullest slice
_TEXTURE_SLICES = 5
_LARGEST_STEP = {Unit.HOUNSFIELD: 250.0, Unit.GRAY8: 40.0}
_DENSITY_RANGE = (-990.0, -250.0)  # HU, median of the aerated lungs


def no_lungs() -> NotChestError:
    """Error for a volume without lungs."""
    return NotChestError(
        "No lungs were found in this volume.",
        "Choose a CT series of the chest that shows the lungs; other body parts cannot be used.",
    )


def check_lungs(
    sides: npt.NDArray[np.uint8], values: FloatArray, spacing: tuple[float, float, float]
) -> tuple[str, ...]:
    """Return warnings about unusual lungs.

    Parameters
    ----------
    sides
        Lungs on a coarse grid: 0, 1 right, 2 left.
    values
        HU on that grid.
    spacing
        Distance in mm between neighbouring blocks of it, along (slices, rows, columns).

    Raises
    ------
    NotChestError
        If what was found is too small, too large, or of a density that lungs do not have.
    """
    block = float(np.prod(spacing)) / 1000.0
    milliliters = {name: np.count_nonzero(sides == label) * block for name, label in LUNG_LABELS.items()}
    total = sum(milliliters.values())
    height = sides.shape[0] * spacing[0]
    # A slab of a chest holds less lung than a chest.
    smallest = _SMALLEST_LUNGS * min(1.0, height / _SLAB_HEIGHT)
    if not smallest <= total <= _LARGEST_LUNGS:
        raise no_lungs()
    if not _DENSITY_RANGE[0] <= float(np.median(values[sides > 0])) <= _DENSITY_RANGE[1]:
        raise no_lungs()
    return (*_one_sided(milliliters, total), *_cut_off(sides))


def refuse_noise(volume: Volume, mask: npt.NDArray[np.uint8]) -> None:
    """Raise `NotChestError` if neighbouring voxels of the supposed lungs have nothing to do with each other.

    Noise of a suitable mean has the density of lungs. In real scans, the noisiest with sharp kernels too, the median
    difference between neighbours in a row stays far below the limit.

    Parameters
    ----------
    volume
        In HU or grey levels.
    mask
        uint8 (slices, rows, columns): 0 outside of the lungs.
    """
    areas = np.array([np.count_nonzero(plane) for plane in mask])
    steps = []
    for index in np.argsort(areas)[-_TEXTURE_SLICES:]:
        inside = mask[index] > 0
        values = volume.array[index].astype(np.float32)
        pairs = inside[:, 1:] & inside[:, :-1]
        if pairs.any():
            steps.append(float(np.median(np.abs(np.diff(values, axis=1))[pairs])))
    if steps and np.median(steps) > _LARGEST_STEP[volume.unit]:
        raise no_lungs()


def _one_sided(milliliters: dict[str, float], total: float) -> list[str]:
    return [
        f"Only the {other} was found: the {name} is without air, removed or outside the image."
        for name, other in zip(milliliters, reversed(milliliters), strict=True)
        if milliliters[name] < _SMALLEST_LUNG_SHARE * total
    ]


def _cut_off(sides: npt.NDArray[np.uint8]) -> list[str]:
    areas = np.count_nonzero(sides, axis=(1, 2))
    ends = {"below": areas[0], "above": areas[-1]}
    return [
        f"The lungs are cut off {where} by the end of the volume: their volume in ml is too small."
        for where, area in ends.items()
        if area > _CUT_OFF_SHARE * areas.max()
    ]
