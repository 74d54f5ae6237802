"""Where in the lungs a voxel lies: depth below the lung border, height, and front to back, in mm and as shares."""

from __future__ import annotations

from dataclasses import dataclass

import edt
import numpy as np
import numpy.typing as npt

from covid_bert.lungs.mask import LEFT_LUNG, RIGHT_LUNG
from covid_bert.phantom.grid import FloatArray, Grid

MARGIN_MILLIMETERS = 4.0


@dataclass(frozen=True, eq=False)
class LungSpace:
    """The box around the lungs with the coordinates that lesions are placed by.

    Parameters
    ----------
    box
        Slices of the three axes that cut the box out of the volume.
    grid
        Voxel centres of the box in mm from the volume's first voxel (x along columns, y along rows, z along slices).
    lungs
        uint8 (slices, rows, columns): 1 right, 2 left lung.
    depth
        float32, mm to the nearest voxel outside of the same lung; 0 outside.
    spacing
        mm along (slices, rows, columns).
    """

    box: tuple[slice, slice, slice]
    grid: Grid
    lungs: npt.NDArray[np.uint8]
    depth: FloatArray
    spacing: tuple[float, float, float]

    @classmethod
    def of(cls, lungs: npt.NDArray[np.uint8], spacing: tuple[float, float, float]) -> LungSpace:
        """Cut out the lungs.

        Parameters
        ----------
        lungs
            uint8 (slices, rows, columns), not empty.
        spacing
            mm along the same axes.
        """
        box = []
        for axis, step in enumerate(spacing):
            others = tuple(other for other in range(3) if other != axis)
            found = np.flatnonzero(lungs.any(axis=others))
            margin = int(np.ceil(MARGIN_MILLIMETERS / step))
            box.append(slice(max(0, int(found[0]) - margin), min(lungs.shape[axis], int(found[-1]) + 1 + margin)))
        slices, rows, columns = box
        affine = np.diag([*spacing[::-1], 1.0])
        whole = Grid((lungs.shape[0], lungs.shape[1], lungs.shape[2]), affine)
        grid = whole.box((slices.start, rows.start, columns.start), (slices.stop, rows.stop, columns.stop))
        inside = np.ascontiguousarray(lungs[slices, rows, columns])
        # Distances do not end where the scan ends: the lungs go on there.
        depth = edt.edt(inside, anisotropy=spacing, black_border=False, parallel=1)
        return cls((slices, rows, columns), grid, inside, depth, spacing)

    def voxels(self, side: int, generator: np.random.Generator, count: int = 6000) -> npt.NDArray[np.int64]:
        """Draw voxels of one lung at random: (count or fewer, 3) indices (slice, row, column) in the box."""
        flat = np.flatnonzero(self.lungs == side)
        chosen = generator.choice(flat, size=min(count, len(flat)), replace=False)
        return np.stack(np.unravel_index(chosen, self.lungs.shape), axis=1)

    def sides(self) -> list[int]:
        """Labels of the lungs that are there."""
        return [side for side in (RIGHT_LUNG, LEFT_LUNG) if (self.lungs == side).any()]

    def shares(self, indices: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Height (0 foot, 1 head) and depth from front (0) to back (1) of voxels, relative to the lungs' box."""
        slices, rows, _ = self.lungs.shape
        return indices[:, 0] / max(1, slices - 1), indices[:, 1] / max(1, rows - 1)
