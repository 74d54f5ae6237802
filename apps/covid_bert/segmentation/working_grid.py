"""The grid that the segmentation networks work on, and the ways from and to the volume's own grid.

A network sees every scan at one pixel size and one slab thickness. Edges align in both directions, so that nothing
drifts: the box is divided into equal working pixels, a slab is the mean of whole slices, and on the way back a slab
stands at the middle of its slices. Both ways run in chunks; the volume is never held in float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from covid_bert.errors import ParameterError

FloatArray = npt.NDArray[np.float32]
Range = tuple[int, int]

AIR_HOUNSFIELD = -1024.0
# Four halvings in the networks.
MULTIPLE = 16
_CHUNK = 16
# A spacing of 0.9999 mm counts as 1 mm when slices are counted into a slab.
_TOLERANCE = 0.01


@dataclass(frozen=True)
class WorkingGrid:
    """Slabs and working pixels of one volume. Made by `WorkingGrid.of`.

    Parameters
    ----------
    shape
        (slices, rows, columns) of the volume.
    slabs
        For each slab the first slice and the one past the last, foot to head, without gaps.
    rows, columns
        First and past-last row and column of the box in the slices.
    size
        Working rows and columns of the box.
    """

    shape: tuple[int, int, int]
    slabs: tuple[Range, ...]
    rows: Range
    columns: Range
    size: tuple[int, int]

    @classmethod
    def of(
        cls,
        shape: tuple[int, int, int],
        spacing: tuple[float, float, float],
        *,
        pixel: float,
        thickness: float,
        box: tuple[Range, Range] | None = None,
    ) -> WorkingGrid:
        """Lay a grid over a volume.

        Parameters
        ----------
        shape, spacing
            (slices, rows, columns) of the volume, and its spacing in mm.
        pixel
            Edge of a working pixel in mm; rounded so that whole pixels fill the box.
        thickness
            Thickness of a slab in mm, rounded down to whole slices, at least one. The topmost slab holds what is left.
        box
            First and past-last row, and first and past-last column; the whole slice when None.

        Raises
        ------
        ParameterError
            If a size is not positive, or the box is empty or reaches out of the slice.
        """
        lengths = (*spacing, pixel, thickness)
        if min(shape) < 1 or not all(math.isfinite(length) and length > 0 for length in lengths):
            raise ParameterError(
                "A working grid needs a volume with voxels, and lengths above 0 mm.",
                "Check shape, spacing, pixel size and thickness.",
            )
        rows, columns = box or ((0, shape[1]), (0, shape[2]))
        for (first, last), length in ((rows, shape[1]), (columns, shape[2])):
            if not 0 <= first < last <= length:
                raise ParameterError(
                    "The box is empty or reaches out of the slices.", "Give first and past-last row and column."
                )
        step = max(1, math.floor(thickness / spacing[0] + _TOLERANCE))
        slabs = tuple((first, min(first + step, shape[0])) for first in range(0, shape[0], step))
        size = tuple(
            max(1, round((last - first) * length / pixel))
            for (first, last), length in ((rows, spacing[1]), (columns, spacing[2]))
        )
        return cls(shape, slabs, rows, columns, (size[0], size[1]))

    @property
    def count(self) -> int:
        """Number of slabs."""
        return len(self.slabs)

    @property
    def padded_size(self) -> tuple[int, int]:
        """`size` rounded up to multiples of 16: rows and columns of the planes."""
        rows, columns = (-(-length // MULTIPLE) * MULTIPLE for length in self.size)
        return rows, columns

    def working_spacing(self, spacing: tuple[float, float, float]) -> tuple[float, float, float]:
        """Distance in mm between neighbouring slabs, working rows and columns of a volume of this `spacing`."""
        slab = self.slabs[0][1] - self.slabs[0][0]
        rows, columns = ((last - first) for first, last in (self.rows, self.columns))
        return spacing[0] * slab, spacing[1] * rows / self.size[0], spacing[2] * columns / self.size[1]

    def forward(self, array: npt.NDArray[np.generic], *, fill: float = AIR_HOUNSFIELD) -> FloatArray:
        """Bring values from the volume's grid to working planes.

        Parameters
        ----------
        array
            Of the shape of the volume: HU, or a mask.
        fill
            Value of the padding at the last rows and columns.

        Returns
        -------
        float32 array
            (slabs, *padded_size): means over the slices of a slab, antialiased in plane.

        Raises
        ------
        ParameterError
            If `array` is of another shape than the volume.
        """
        import torch
        from torch.nn.functional import interpolate

        if array.shape != self.shape:
            raise ParameterError("The array is not on the grid of the volume.", "Give an array of the volume's shape.")
        planes = np.full((self.count, *self.padded_size), fill, np.float32)
        for start in range(0, self.count, _CHUNK):
            part = self.slabs[start : start + _CHUNK]
            means = np.stack(
                [
                    array[first:last, slice(*self.rows), slice(*self.columns)].mean(axis=0, dtype=np.float32)
                    for first, last in part
                ]
            )
            resized = interpolate(torch.from_numpy(means)[None], size=self.size, mode="bilinear", antialias=True)
            planes[start : start + len(part), : self.size[0], : self.size[1]] = resized[0].numpy()
        return planes

    def back(self, planes: FloatArray) -> Iterator[tuple[slice, FloatArray]]:
        """Bring planes of one or more classes back to the slices of the volume.

        Parameters
        ----------
        planes
            float32 (classes, slabs, *padded_size), for instance probabilities.

        Yields
        ------
        slices : slice
            Slices of the volume, foot to head, each once.
        values : float32 array
            (classes, slices, box rows, box columns): linear between the middles of slabs and of working pixels,
            constant beyond the outermost ones.

        Raises
        ------
        ParameterError
            If `planes` are of another grid.
        """
        import torch
        from torch.nn.functional import interpolate

        if planes.ndim != 4 or planes.shape[1:] != (self.count, *self.padded_size):
            raise ParameterError("The planes are not on this working grid.", "Give planes of the padded size.")
        size = self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]
        inner = torch.from_numpy(planes)[:, :, : self.size[0], : self.size[1]]
        lower, upper, weight = (torch.from_numpy(part) for part in self._between_slabs())
        for start in range(0, self.shape[0], _CHUNK):
            part = slice(start, min(start + _CHUNK, self.shape[0]))
            # Along the slices first: working planes are the smaller ones.
            values = torch.lerp(inner[:, lower[part]], inner[:, upper[part]], weight[part, None, None])
            if self.size != size:
                values = interpolate(values, size=size, mode="bilinear")
            yield part, values.numpy()

    def _between_slabs(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray]:
        """For each slice the slabs below and above its middle, and the weight of the upper one."""
        middles = np.array([(first + last - 1) / 2 for first, last in self.slabs])
        position = np.interp(np.arange(self.shape[0]), middles, np.arange(self.count))
        lower = np.floor(position).astype(np.int64)
        return lower, np.minimum(lower + 1, self.count - 1), (position - lower).astype(np.float32)
