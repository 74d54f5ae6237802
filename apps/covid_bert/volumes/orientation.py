"""Between a file's own grid and the canonical one (see `covid_bert.volumes.volume`), without any interpolation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from nibabel import orientations

# Canonical index order (column, row, slice) points to the patient's left, back and head.
CANONICAL_AXES = ("L", "P", "S")


@dataclass(frozen=True)
class NativeGrid:
    """The grid of the input file.

    Parameters
    ----------
    shape
        Number of voxels along the file's axes (i, j, k).
    affine
        4x4, (i, j, k, 1) to RAS in mm, as the file states it (a gantry tilt stays in it as a shear).
    shear_rows_per_slice
        Displacement, in rows of the canonical grid for each slice, that was taken out of a tilted series; 0
        otherwise.
    """

    shape: tuple[int, int, int]
    affine: npt.NDArray[np.float64]
    shear_rows_per_slice: float = 0.0


def to_canonical(
    array: npt.NDArray[np.generic], affine: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.float64]]:
    """Permute and flip the axes of a file so that they come to lie in the canonical order.

    Parameters
    ----------
    array
        Indexed (i, j, k) as in the file.
    affine
        4x4, (i, j, k, 1) to RAS in mm.

    Returns
    -------
    array
        Indexed (slice, row, column).
    affine
        4x4, (column, row, slice, 1) to RAS in mm.
    """
    transform = _transform(affine)
    moved = orientations.apply_orientation(array, transform)
    return moved.transpose(2, 1, 0), affine @ orientations.inv_ornt_aff(transform, array.shape)


def to_native(array: npt.NDArray[np.generic], grid: NativeGrid) -> npt.NDArray[np.generic]:
    """Bring a canonical (slice, row, column) array back to the file's own axes (i, j, k): the exact inverse."""
    canonical = orientations.axcodes2ornt(CANONICAL_AXES)
    native = orientations.io_orientation(grid.affine)
    return orientations.apply_orientation(array.transpose(2, 1, 0), orientations.ornt_transform(canonical, native))


def _transform(affine: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    native = orientations.io_orientation(affine)
    return orientations.ornt_transform(native, orientations.axcodes2ornt(CANONICAL_AXES))
