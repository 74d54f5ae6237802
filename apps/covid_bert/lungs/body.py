"""The air around the patient, and the patient's midline."""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from covid_bert.lungs.distance import distance_inside
from covid_bert.lungs.grid import AIR_HOUNSFIELD, IN_PLANE, BoolArray, CoarseGrid

# Of -250, -320 and -400, the boundary that comes closest to manual reference masks.
AERATED_HOUNSFIELD = -320.0
TISSUE_HOUNSFIELD = -200.0
BONE_HOUNSFIELD = 130.0
_CUT_LUNG_RADIUS = 10.0  # mm
_CUT_LUNG_SIDES = 2.7
_TABLE_RADIUS = 4.0  # mm; thinner things are table, cables and clothes


@dataclass(frozen=True, eq=False)
class Body:
    """The patient on the coarse grid.

    Parameters
    ----------
    outside
        Air of the room and padding.
    midline
        Column of the patient's midline.
    room_air
        Median HU of the air in the room, the scanner's own zero of density; -1000 where none is in the image.
    """

    outside: BoolArray
    midline: float
    room_air: float


def find_body(grid: CoarseGrid) -> Body:
    """Find the air around the patient and the patient's midline."""
    tissue = _patient_tissue(grid)
    outside = _outside_air(grid, tissue)
    return Body(outside, _midline_column(grid, tissue), _room_air_hounsfield(grid, outside))


def _outside_air(grid: CoarseGrid, tissue: BoolArray) -> BoolArray:
    """Find the air around the patient, slice by slice from the border of the image.

    Slices are not joined, so that an open mouth or a tracheal tube does not make the lungs part of the room.
    An aerated region that touches the border is taken for the room, except where the field of view cuts a lung: such
    a region is as wide as a lung, and the patient lies on at least three of its four sides.
    """
    aerated = (grid.values < AERATED_HOUNSFIELD) & ~grid.padding
    labels, count = ndimage.label(aerated, IN_PLANE)
    touching = np.unique(labels[_image_border(grid.padding) & aerated])
    if touching.size == 0:
        return grid.padding.copy()
    wide = np.zeros(count + 1, bool)
    wide[np.unique(labels[_in_plane_depth(aerated, grid.spacing) >= _CUT_LUNG_RADIUS])] = True
    sizes = np.maximum(np.bincount(labels.ravel(), minlength=count + 1), 1)
    enclosed = np.bincount(labels.ravel(), _sides_with_tissue(tissue).ravel(), count + 1) / sizes
    cut_lung = (wide & (enclosed >= _CUT_LUNG_SIDES))[touching]
    is_outside = np.zeros(count + 1, bool)
    is_outside[touching[~cut_lung]] = True
    return is_outside[labels] | grid.padding


def _midline_column(grid: CoarseGrid, tissue: BoolArray) -> float:
    """Column of the patient's midline on the coarse grid, from the spine; without bone from the body's centre.

    The spine is the one bone that stays at its place from slice to slice, so it is still found where the image is
    cropped to one lung.
    """
    bone = ((grid.values > BONE_HOUNSFIELD) & tissue).mean(axis=0)
    sigma = [12.0 / step for step in grid.spacing[1:]]
    persistence = ndimage.gaussian_filter(bone.astype(np.float32), sigma)
    if persistence.max() > 0.05:
        return float(np.unravel_index(np.argmax(persistence), persistence.shape)[1])
    columns = np.flatnonzero(tissue.any(axis=(0, 1)))
    return float(columns.mean()) if columns.size else (grid.values.shape[2] - 1) / 2


def _room_air_hounsfield(grid: CoarseGrid, outside: BoolArray) -> float:
    """Median HU of the air in the room, kept within what scanners give."""
    room: npt.NDArray[np.float32] = grid.values[outside & ~grid.padding & (grid.values < -900.0)]
    return float(np.clip(np.median(room), -1024.0, -960.0)) if room.size > 1000 else AIR_HOUNSFIELD


def _patient_tissue(grid: CoarseGrid) -> BoolArray:
    """Largest piece of tissue, cut loose from the table by an erosion."""
    tissue = (grid.values > TISSUE_HOUNSFIELD) & ~grid.padding
    core = distance_inside(tissue, grid.spacing) > _TABLE_RADIUS
    if not core.any():
        return core
    largest = cc3d.largest_k(core, k=1, connectivity=6) > 0
    return (distance_inside(~largest, grid.spacing) <= _TABLE_RADIUS) & tissue


def _sides_with_tissue(tissue: BoolArray) -> npt.NDArray[np.uint8]:
    """For each block, on how many of its four in-plane sides the patient lies somewhere."""
    count = np.zeros(tissue.shape, np.uint8)
    for axis in (1, 2):
        count += np.logical_or.accumulate(tissue, axis=axis)
        count += np.flip(np.logical_or.accumulate(np.flip(tissue, axis), axis=axis), axis)
    return count


def _image_border(padding: BoolArray) -> BoolArray:
    border = np.zeros_like(padding)
    border[:, [0, -1], :] = True
    border[:, :, [0, -1]] = True
    return border | ndimage.binary_dilation(padding, IN_PLANE)


def _in_plane_depth(mask: BoolArray, spacing: tuple[float, float, float]) -> npt.NDArray[np.float32]:
    """Distance in mm to the nearest pixel outside `mask` in the same slice."""
    return distance_inside(mask, (1e6, spacing[1], spacing[2]))
