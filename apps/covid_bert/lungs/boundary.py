"""From the coarse lungs to the mask on the full grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from covid_bert.lungs.body import AERATED_HOUNSFIELD
from covid_bert.lungs.boxes import Box, box_around
from covid_bert.lungs.distance import distance_inside, signed_distance
from covid_bert.lungs.grid import BoolArray, CoarseGrid, FloatArray, interpolation_matrix
from covid_bert.lungs.mask import LEFT_LUNG, RIGHT_LUNG
from covid_bert.volumes.volume import Volume

_REPORT_EVERY = 16


def full_resolution(
    volume: Volume,
    grid: CoarseGrid,
    sides: npt.NDArray[np.uint8],
    airways: BoolArray,
    report: Callable[[float], None] = lambda _fraction: None,
) -> npt.NDArray[np.uint8]:
    """Draw the lungs on the volume's own grid.

    Well inside the coarse lungs every voxel is lung; within about one block of their boundary the voxel's own HU
    decides, except where the boundary runs through tissue that was closed over (a lesion at the pleura): there the
    interpolated coarse boundary stands.

    Parameters
    ----------
    volume
        In HU.
    grid
        Its coarse grid.
    sides
        Closed lungs on the coarse grid: 0, 1 right, 2 left.
    airways
        Trachea and main bronchi with their walls on the coarse grid.
    report
        Called with the finished fraction after each slab.
    """
    mask = np.zeros(volume.shape, np.uint8)
    box = box_around(sides > 0, 4.0 * max(grid.spacing), grid.spacing)
    fields = _Fields(grid.crop(box), sides[box], airways[box])
    slices, rows, columns = (
        slice(part.start * factor, min(part.stop * factor, size))
        for part, factor, size in zip(box, grid.factors, volume.shape, strict=True)
    )
    lifts = _Lifts(box, grid, (slices, rows, columns))
    band = 0.75 * max(grid.spacing[1:]) if max(grid.factors[1:]) > 1 else 0.0
    for index in range(slices.start, slices.stop):
        lift = lifts.at(index)
        mask[index, rows, columns] = _slice(fields, lift, volume.array[index, rows, columns], band)
        if index % _REPORT_EVERY == 0:
            report((index - slices.start) / (slices.stop - slices.start))
    return mask


@dataclass(frozen=True, eq=False)
class _Lift:
    """Linear interpolation of coarse fields to one full slice."""

    weights: FloatArray
    up_rows: FloatArray
    up_columns: FloatArray

    def __call__(self, field: FloatArray) -> FloatArray:
        used = np.flatnonzero(self.weights)
        plane = np.tensordot(self.weights[used], field[used], axes=1)
        return self.up_rows @ plane @ self.up_columns


class _Lifts:
    """Interpolation matrices from the coarse box to the full box."""

    def __init__(self, box: Box, grid: CoarseGrid, full: Box) -> None:
        self._slices, self._rows, columns = (
            interpolation_matrix(size, factor, target.start, target.stop, part)
            for size, factor, target, part in zip(grid.values.shape, grid.factors, full, box, strict=True)
        )
        self._columns = np.ascontiguousarray(columns.T)
        self._start = full[0].start

    def at(self, index: int) -> _Lift:
        return _Lift(self._slices[index - self._start], self._rows, self._columns)


class _Fields:
    """Coarse fields that are interpolated, as float32."""

    def __init__(self, grid: CoarseGrid, sides: npt.NDArray[np.uint8], airways: BoolArray) -> None:
        lungs = sides > 0
        limit = 4.0 * max(grid.spacing)
        self.depth = np.clip(signed_distance(lungs, grid.spacing), -limit, limit)
        to_right = distance_inside(sides != RIGHT_LUNG, grid.spacing)
        to_left = distance_inside(sides != LEFT_LUNG, grid.spacing)
        self.leftness = np.clip(to_right, 0, limit) - np.clip(to_left, 0, limit)
        self.closed_over = (lungs & (grid.values >= AERATED_HOUNSFIELD)).astype(np.float32)
        self.airways = np.clip(signed_distance(airways, grid.spacing), -limit, limit)


def _slice(fields: _Fields, lift: _Lift, values: npt.NDArray[np.generic], band: float) -> npt.NDArray[np.uint8]:
    depth = lift(fields.depth)
    aerated = np.asarray(values, np.float32) < AERATED_HOUNSFIELD
    lung = (depth > band) | ((depth > -band) & aerated) | ((depth > 0) & (lift(fields.closed_over) > 0.3))
    lung &= lift(fields.airways) < 0
    side = np.where(lift(fields.leftness) > 0, np.uint8(LEFT_LUNG), np.uint8(RIGHT_LUNG))
    return np.where(lung, side, np.uint8(0))
