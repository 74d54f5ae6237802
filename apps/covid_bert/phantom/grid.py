"""Sampling grids: where the voxel centres of a box lie in the phantom's frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

# A slab of this many voxels keeps the temporary arrays of the tissue model in the processor's cache.
SLAB_VOXELS = 1 << 18


@dataclass(frozen=True, eq=False)
class Grid:
    """A box of voxels.

    Parameters
    ----------
    shape
        (slices, rows, columns).
    affine
        4x4, (column, row, slice, 1) to mm: x to the patient's left, y to the back, z to the head (LPS).
    """

    shape: tuple[int, int, int]
    affine: npt.NDArray[np.float64]

    def box(self, lower: tuple[int, int, int], upper: tuple[int, int, int]) -> Grid:
        """Return the sub-grid of the voxels from `lower` up to, not including, `upper` (slice, row, column)."""
        affine = self.affine.copy()
        affine[:3, 3] = self.affine[:3, :3] @ np.array(lower[::-1], dtype=float) + self.affine[:3, 3]
        return Grid((upper[0] - lower[0], upper[1] - lower[1], upper[2] - lower[2]), affine)

    def slabs(self) -> Iterator[tuple[slice, Grid]]:
        """Yield runs of slices small enough to compute in one go, each with its own grid."""
        slices, rows, columns = self.shape
        step = max(1, SLAB_VOXELS // (rows * columns))
        for start in range(0, slices, step):
            stop = min(start + step, slices)
            yield slice(start, stop), self.box((start, 0, 0), (stop, rows, columns))

    def axis(self, axis: int) -> FloatArray:
        """Return coordinate 0 (x), 1 (y) or 2 (z) of all voxel centres in mm.

        The result broadcasts to `shape`: axes along which the coordinate does not change have length 1, which makes
        everything that is computed on upright grids several times faster.
        """
        total = np.full((1, 1, 1), self.affine[axis, 3])
        for index_axis, count in enumerate(self.shape[::-1]):
            step = self.affine[axis, index_axis]
            if abs(step) * count > 1e-6:
                steps = np.arange(count) * step
                total = total + steps.reshape([-1 if 2 - index_axis == k else 1 for k in range(3)])
        return total.astype(np.float32)

    def coordinates(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return x, y and z of all voxel centres in mm, each broadcasting to `shape`."""
        return self.axis(0), self.axis(1), self.axis(2)

    def edge_width(self, normal: tuple[float, float, float], blur: float = 0.8) -> float:
        """Return the width in mm over which a sharp surface appears in the image.

        Parameters
        ----------
        normal
            Unit normal of the surface (x, y, z).
        blur
            Width of the scanner's own point spread in mm.
        """
        extent_along_normal = np.asarray(normal) @ self.affine[:3, :3]
        return float(np.sqrt((extent_along_normal**2).sum() + blur**2))

    def enclosing(
        self, lower: npt.NDArray[np.float64], upper: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return index bounds (slice, row, column), cut to the grid, of boxes given in mm.

        Parameters
        ----------
        lower, upper
            (n, 3) corners (x, y, z) in mm.

        Returns
        -------
        lower, upper
            (n, 3); upper is exclusive, and not above lower where a box lies outside the grid.
        """
        center, half = (lower + upper) / 2, (upper - lower) / 2
        inverse = np.linalg.inv(self.affine[:3, :3])
        middle = (center - self.affine[:3, 3]) @ inverse.T
        reach = half @ np.abs(inverse).T
        limit = np.array(self.shape[::-1])
        first = np.clip(np.floor(middle - reach), 0, limit).astype(np.int64)
        last = np.clip(np.ceil(middle + reach) + 1, 0, limit).astype(np.int64)
        return first[:, ::-1], last[:, ::-1]


def coverage(distance: FloatArray, width: float) -> FloatArray:
    """Return the share of a voxel inside a surface, from its signed distance in mm (negative inside)."""
    return np.clip(0.5 - distance / np.float32(width), 0.0, 1.0)


def smooth_maximum(first: FloatArray, second: FloatArray, radius: float) -> FloatArray:
    """Return the maximum of two signed distances (their intersection) with edges rounded by `radius` mm."""
    overlap = np.maximum(radius - np.abs(first - second), 0.0)
    return np.maximum(first, second) + overlap * overlap * np.float32(0.25 / radius)


def smooth_minimum(first: FloatArray, second: FloatArray, radius: float) -> FloatArray:
    """Return the minimum of two signed distances (their union) with grooves rounded by `radius` mm."""
    overlap = np.maximum(radius - np.abs(first - second), 0.0)
    return np.minimum(first, second) - overlap * overlap * np.float32(0.25 / radius)


def ellipsoid(
    point: tuple[FloatArray, FloatArray, FloatArray],
    center: tuple[float, float, float],
    radii: tuple[float, float, float],
) -> FloatArray:
    """Return the approximate signed distance in mm (negative inside) from an upright ellipsoid."""
    x, y, z = (
        (value - np.float32(middle)) / np.float32(radius)
        for value, middle, radius in zip(point, center, radii, strict=True)
    )
    return (np.sqrt(x * x + y * y + z * z) - 1.0) * np.float32(min(radii))
