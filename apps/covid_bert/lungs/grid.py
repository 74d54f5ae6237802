"""A coarse grid of about 2 mm for structural work, and the way back to the full grid.

Which air belongs to the lungs is a question of centimetres; only the boundary needs the full resolution. Both ways
run in slabs, so that no array of the full size other than the volume and the mask is ever held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from covid_bert.volumes.volume import Volume

AIR_HOUNSFIELD = -1000.0
COARSE_SPACING = 2.0
PADDING_HOUNSFIELD = -1200.0
# Neighbours in the same slice only.
IN_PLANE = np.zeros((3, 3, 3), bool)
IN_PLANE[1] = ndimage.generate_binary_structure(2, 1)
_CLIP = (-1024.0, 1024.0)

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class CoarseGrid:
    """Block means of a volume.

    Parameters
    ----------
    values
        float32 (slices, rows, columns), HU clipped to [-1024, 1024].
    padding
        Where the scanner or an earlier program wrote a filling value outside the reconstructed field.
    factors
        Voxels of the volume in one block, along (slices, rows, columns).
    spacing
        Distance in mm between neighbouring blocks, along (slices, rows, columns).
    full_shape
        Shape of the volume.
    """

    values: FloatArray
    padding: BoolArray
    factors: tuple[int, int, int]
    spacing: tuple[float, float, float]
    full_shape: tuple[int, int, int]

    @property
    def block_milliliters(self) -> float:
        """Volume of one block in ml."""
        return float(np.prod(self.spacing)) / 1000.0

    def crop(self, box: tuple[slice, slice, slice]) -> CoarseGrid:
        """Return the blocks within `box`; `full_shape` stays that of the whole volume."""
        return replace(self, values=self.values[box].copy(), padding=self.padding[box].copy())


def coarsen(volume: Volume, coarse_spacing: float = COARSE_SPACING) -> CoarseGrid:
    """Average a HU volume over blocks of about `coarse_spacing` mm.

    Parameters
    ----------
    volume
        In HU; thick slices are kept one by one.
    coarse_spacing
        Wanted edge of a block in mm. An axis that is coarser already is left as it is.
    """
    shape = volume.shape
    factors = _factors(shape, volume.spacing, coarse_spacing)
    coarse_shape = tuple(-(-size // factor) for size, factor in zip(shape, factors, strict=True))
    values = np.empty(coarse_shape, np.float32)
    padding = np.empty(coarse_shape, bool)
    for block, start, stop in _slabs(shape[0], factors[0]):
        slab = _fill_blocks(np.asarray(volume.array[start:stop], np.float32), factors)
        padding[block] = _block_mean(slab, factors)[0] < PADDING_HOUNSFIELD
        values[block] = _block_mean(np.clip(slab, *_CLIP), factors)[0]
    padding = _reaching_border(padding | _constant_frame(volume.array, factors))
    spacing = tuple(step * factor for step, factor in zip(volume.spacing, factors, strict=True))
    return CoarseGrid(values, padding, factors, spacing, shape)  # type: ignore[arg-type]


def interpolation_matrix(coarse_size: int, factor: int, start: int, stop: int, part: slice) -> FloatArray:
    """Linear interpolation along one axis, from block centres to voxel centres.

    Parameters
    ----------
    coarse_size
        Number of blocks along the axis.
    factor
        Voxels in one block.
    start, stop
        Voxels to interpolate to, one row of the matrix each.
    part
        Blocks to interpolate from, one column of the matrix each; beyond them the last one is repeated.
    """
    position = np.clip((np.arange(start, stop) + 0.5) / factor - 0.5, part.start, min(part.stop, coarse_size) - 1)
    lower = np.minimum(position.astype(int), max(part.stop - 2, part.start))
    fraction = (position - lower).astype(np.float32)
    matrix = np.zeros((stop - start, part.stop - part.start), np.float32)
    rows = np.arange(stop - start)
    matrix[rows, lower - part.start] = 1.0 - fraction
    matrix[rows, np.minimum(lower + 1, part.stop - 1) - part.start] += fraction
    return matrix


def _factors(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], coarse_spacing: float
) -> tuple[int, int, int]:
    """Voxels along the edges of a block whose size comes closest to the wanted one, as a ratio."""
    slices, rows, columns = (
        1 + int(np.argmin(np.abs(np.log(np.arange(1, size + 1) * step / coarse_spacing))))
        for size, step in zip(shape, spacing, strict=True)
    )
    return slices, rows, columns


def _slabs(slices: int, factor: int) -> Iterator[tuple[int, int, int]]:
    for block, start in enumerate(range(0, slices, factor)):
        yield block, start, min(start + factor, slices)


def _fill_blocks(slab: FloatArray, factors: tuple[int, int, int]) -> FloatArray:
    """Repeat the last row and column until they fill whole blocks."""
    missing = [(-size) % factor for size, factor in zip(slab.shape[1:], factors[1:], strict=True)]
    return np.pad(slab, ((0, 0), (0, missing[0]), (0, missing[1])), mode="edge") if any(missing) else slab


def _block_mean(slab: FloatArray, factors: tuple[int, int, int]) -> FloatArray:
    """Average a slab that is one block thick (its last block may be thinner) to one coarse slice."""
    plane = slab.mean(axis=0, dtype=np.float32)
    rows, columns = plane.shape[0] // factors[1], plane.shape[1] // factors[2]
    return plane.reshape(rows, factors[1], columns, factors[2]).mean(axis=(1, 3), dtype=np.float32)[np.newaxis]


def _reaching_border(padding: BoolArray) -> BoolArray:
    """Keep padding that reaches the border of its slice; noise in lungs can be as dark as padding."""
    labels, _ = ndimage.label(padding, IN_PLANE)
    border = np.concatenate([labels[:, [0, -1], :].ravel(), labels[:, :, [0, -1]].ravel()])
    return np.isin(labels, np.unique(border[border > 0]))


def _constant_frame(array: npt.NDArray[np.generic], factors: tuple[int, int, int]) -> BoolArray:
    """Find pixels that hold the value of a corner in every slice: a field of view smaller than the image.

    Returns (1, rows, columns) on the coarse grid.
    """
    lowest, highest = array[0].copy(), array[0].copy()
    for plane in array[1:]:
        np.minimum(lowest, plane, out=lowest)
        np.maximum(highest, plane, out=highest)
    corners = [highest[row, column] for row in (0, -1) for column in (0, -1) if highest[row, column] < AIR_HOUNSFIELD]
    frame = (lowest == highest) & np.isin(highest, corners)
    return _block_mean(_fill_blocks(frame[np.newaxis].astype(np.float32), factors), factors) > 0.5
