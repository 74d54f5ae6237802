"""Trachea and main bronchi on the coarse grid.

The trachea is followed slice by slice as a round column of air near the midline; from it the main bronchi are grown
with the loosest threshold that does not leak into the lungs (Mori et al., "Recognition of bronchus in
three-dimensional X-ray CT images", Proc. ICPR 1996).
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
import numpy.typing as npt

from covid_bert.lungs.distance import Spacing, dilate, open_
from covid_bert.lungs.grid import BoolArray, CoarseGrid

_LUMEN_HOUNSFIELD = -750.0
_LUMEN_AREA = (40.0, 700.0)  # mm2
_MIDLINE_DISTANCE = 45.0  # mm
_SHORTEST_TRACHEA = 15.0  # mm
_LEAK_MILLILITERS = 45.0
_MAIN_BRONCHUS_LENGTH = 65.0  # mm from the carina
_MAIN_BRONCHUS_RADIUS = 3.0  # mm
_THRESHOLDS = (-800.0, -840.0, -870.0, -890.0, -910.0, -925.0, -940.0, -955.0, -970.0)


@dataclass(frozen=True)
class _Lumen:
    """Cross-section of a possible trachea in one slice."""

    label: int
    area: float  # mm2
    row: float
    column: float


def find_airways(grid: CoarseGrid, inside: BoolArray, midline: float) -> BoolArray:
    """Find trachea and main bronchi.

    Parameters
    ----------
    grid
        Coarse volume.
    inside
        The patient without the room air.
    midline
        Column of the midline.

    Returns
    -------
    BoolArray
        Lumen of trachea and main bronchi on the coarse grid; empty where no trachea is seen.
    """
    trachea = _trachea(grid, inside, midline)
    if not trachea.any():
        return trachea
    return trachea | _main_bronchi(grid, inside, trachea)


def _trachea(grid: CoarseGrid, inside: BoolArray, midline: float) -> BoolArray:
    """Longest chain of overlapping tracheal cross-sections, as a mask."""
    slices = grid.values.shape[0]
    air = (grid.values < _LUMEN_HOUNSFIELD) & inside
    labels = np.zeros(air.shape, np.uint32)
    lumens: list[list[_Lumen]] = []
    for index in range(slices):
        labels[index], found = _lumens(air[index], grid.spacing, midline)
        lumens.append(found)
    chain = _longest_chain(lumens, grid.spacing)
    trachea = np.zeros(air.shape, bool)
    for index, label in chain:
        trachea[index] = labels[index] == label
    return trachea


def _lumens(air: BoolArray, spacing: Spacing, midline: float) -> tuple[npt.NDArray[np.uint32], list[_Lumen]]:
    labels = cc3d.connected_components(air, connectivity=4)
    statistics = cc3d.statistics(labels)
    found = []
    for label in range(1, len(statistics["voxel_counts"])):
        area = float(statistics["voxel_counts"][label]) * spacing[1] * spacing[2]
        if not _LUMEN_AREA[0] <= area <= _LUMEN_AREA[1]:
            continue
        row, column = statistics["centroids"][label][:2]
        rows, columns = statistics["bounding_boxes"][label][:2]
        height, width = (rows.stop - rows.start) * spacing[1], (columns.stop - columns.start) * spacing[2]
        round_enough = max(height, width) <= 2.5 * min(height, width) and area >= 0.45 * height * width
        if round_enough and abs(column - midline) * spacing[2] <= _MIDLINE_DISTANCE:
            found.append(_Lumen(label, area, float(row), float(column)))
    return labels, found


def _longest_chain(lumens: list[list[_Lumen]], spacing: Spacing) -> list[tuple[int, int]]:
    """Chain cross-sections that continue each other from slice to slice; the longest one wins."""
    ends: dict[tuple[int, int], list[tuple[int, int]]] = {}
    best: list[tuple[int, int]] = []
    for index, candidates in enumerate(lumens):
        for lumen in candidates:
            previous = [
                ends[index - 1, below.label]
                for below in (lumens[index - 1] if index else [])
                if _continues(lumen, below, spacing)
            ]
            chain = [*max(previous, key=len, default=[]), (index, lumen.label)]
            ends[index, lumen.label] = chain
            if len(chain) > len(best):
                best = chain
    return best if len(best) * spacing[0] >= _SHORTEST_TRACHEA else []


def _continues(one: _Lumen, other: _Lumen, spacing: Spacing) -> bool:
    shift = np.hypot((one.row - other.row) * spacing[1], (one.column - other.column) * spacing[2])
    ratio = one.area / other.area
    return bool(shift <= 3.0 + spacing[0]) and 0.5 <= ratio <= 2.0


def _main_bronchi(grid: CoarseGrid, inside: BoolArray, trachea: BoolArray) -> BoolArray:
    """Grow from the lower end of the trachea, with the loosest threshold that does not leak into the lungs."""
    carina = int(np.flatnonzero(trachea.any(axis=(1, 2)))[0])
    near = _near(trachea[carina], carina, grid) & inside
    for threshold in _THRESHOLDS:
        grown = _grow(near & (grid.values < threshold), trachea, carina)
        if int(np.count_nonzero(grown)) * grid.block_milliliters <= _LEAK_MILLILITERS:
            return open_(grown | trachea, _MAIN_BRONCHUS_RADIUS, grid.spacing)
    return np.zeros_like(trachea)


def _near(lumen: BoolArray, carina: int, grid: CoarseGrid) -> BoolArray:
    """Blocks at most one main bronchus away from the carina and not far above it."""
    row, column = (float(positions.mean()) for positions in np.nonzero(lumen))
    z, y, x = np.ogrid[tuple(slice(size) for size in grid.values.shape)]
    above = (z - carina) * grid.spacing[0]
    squared = above**2 + ((y - row) * grid.spacing[1]) ** 2 + ((x - column) * grid.spacing[2]) ** 2
    return (squared <= _MAIN_BRONCHUS_LENGTH**2) & (above <= 2 * grid.spacing[0])


def _grow(candidates: BoolArray, trachea: BoolArray, carina: int) -> BoolArray:
    start = np.zeros_like(trachea)
    start[carina : carina + 3] = trachea[carina : carina + 3]
    labels = cc3d.connected_components(candidates | start, connectivity=6)
    touched = np.unique(labels[start])
    return np.isin(labels, touched[touched > 0])


def airway_wall(airways: BoolArray, grid: CoarseGrid, thickness: float = 2.5) -> BoolArray:
    """Airway lumen with a wall of `thickness` mm (at least to the next block in-plane)."""
    return dilate(airways, max(thickness, 1.01 * max(grid.spacing[1:])), grid.spacing)
