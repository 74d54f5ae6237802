"""Checks of a file's geometry, and removal of a gantry tilt."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from covid_bert.errors import GeometryError
from covid_bert.volumes.hounsfield import LOWEST_HOUNSFIELD

_Array = npt.NDArray[np.generic]
_Affine = npt.NDArray[np.float64]

SMALLEST_SPACING_MM = 0.01
LARGEST_SPACING_MM = 50.0
# Skew that moves no voxel by more than this is rounding in the file, and is left in the affine.
_TOLERATED_SKEW_VOXELS = 0.5
_LARGEST_TILT_DEGREES = 50.0
# An affine between LPS (DICOM, ITK) and RAS (NIfTI and this project).
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

_REEXPORT = "Export the study again from the PACS or the original DICOM files."


def check_affine(affine: _Affine, name: str) -> None:
    """Refuse an affine with impossible spacing or direction.

    Parameters
    ----------
    affine
        4x4, index to mm.
    name
        Base name of the file, for messages.

    Raises
    ------
    GeometryError
        If it is not finite, a spacing lies outside 0.01 to 50 mm, or the axes do not span space.
    """
    if not np.all(np.isfinite(affine)):
        raise GeometryError(f"The position or direction stored in '{name}' is not a number.", _REEXPORT)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if spacing.min() < SMALLEST_SPACING_MM or spacing.max() > LARGEST_SPACING_MM:
        stated = " x ".join(f"{value:g}" for value in spacing)
        raise GeometryError(f"The voxel spacing of '{name}' is impossible: {stated} mm.", _REEXPORT)
    if abs(np.linalg.det(affine[:3, :3] / spacing)) < 0.2:
        raise GeometryError(f"The axes stored in '{name}' do not span three dimensions.", _REEXPORT)


def remove_tilt(array: _Array, affine: _Affine, name: str) -> tuple[_Array, _Affine, float]:
    """Resample a tilted volume onto an orthogonal grid, linearly along rows; others are returned as they are.

    Slice z of a tilted series lies ``z * rows_per_slice`` rows away from where it would lie along the slice normal.
    The result has as many more rows as it takes to keep every voxel; what was outside the scan is -1024 HU.

    Parameters
    ----------
    array
        Canonical (slices, rows, columns) in HU.
    affine
        4x4, (column, row, slice, 1) to RAS in mm.
    name
        Base name of the file, for messages.

    Returns
    -------
    array, affine
        On the orthogonal grid.
    rows_per_slice
        What was taken out; 0 where nothing was.

    Raises
    ------
    GeometryError
        If axes are skewed in another way, or by more than 50 degrees.
    """
    column, row, slice_ = affine[:3, :3].T
    count, rows, _ = array.shape
    in_plane = float(column @ row / (column @ column)) * rows
    columns_per_slice = float(slice_ @ column / (column @ column))
    rows_per_slice = float(slice_ @ row / (row @ row))
    if max(abs(in_plane), abs(columns_per_slice) * (count - 1)) > _TOLERATED_SKEW_VOXELS:
        raise GeometryError(
            f"The axes of '{name}' are skewed in a way that is not a gantry tilt.",
            "Resample the study to an orthogonal grid, or export the original DICOM files.",
        )
    if abs(rows_per_slice) * (count - 1) <= _TOLERATED_SKEW_VOXELS:
        return array, affine, 0.0
    normal = slice_ - rows_per_slice * row
    tilt = np.degrees(np.arctan2(np.linalg.norm(rows_per_slice * row), np.linalg.norm(normal)))
    if tilt > _LARGEST_TILT_DEGREES:
        raise GeometryError(f"The slices of '{name}' are tilted by {tilt:.0f} degrees.", _REEXPORT)

    upright = set_upright(array, rows_per_slice, outside=LOWEST_HOUNSFIELD, labels=False)
    moved = affine.copy()
    moved[:3, 2] = normal
    moved[:3, 3] += _first_row(count, rows_per_slice) * row
    return upright, moved, rows_per_slice


def set_upright(array: _Array, rows_per_slice: float, *, outside: float, labels: bool) -> _Array:
    """Move the slices of a tilted array onto the upright grid of `remove_tilt`.

    Parameters
    ----------
    array
        (slices, rows, columns) on the tilted slices.
    rows_per_slice
        Displacement of each slice, in rows.
    outside
        Value of what was outside the scan.
    labels
        True: each voxel takes the nearest label. False: values are interpolated linearly along rows.
    """
    if rows_per_slice == 0.0:
        return array
    count, rows, columns = array.shape
    first = _first_row(count, rows_per_slice)
    upright = np.full((count, rows + _added_rows(count, rows_per_slice), columns), outside, array.dtype)
    for index in range(count):
        positions = np.arange(upright.shape[1]) + first - index * rows_per_slice
        if labels:
            nearest = np.rint(positions).astype(int)
            inside = (nearest >= 0) & (nearest < rows)
            upright[index, inside] = array[index, nearest[inside]]
        else:
            upright[index] = _interpolate_rows(array[index], positions, outside)
    return upright


def restore_tilt(array: _Array, rows_per_slice: float, *, labels: bool) -> _Array:
    """Bring an array on the upright grid of `remove_tilt` back onto the tilted slices.

    Parameters
    ----------
    array
        (slices, rows, columns) on the upright grid.
    rows_per_slice
        What `remove_tilt` took out.
    labels
        True: each voxel takes the label whose linearly interpolated share is above 0.5, that is the nearest one.
        False: values are interpolated linearly.
    """
    if rows_per_slice == 0.0:
        return array
    count, rows, columns = array.shape
    first = _first_row(count, rows_per_slice)
    tilted = np.empty((count, rows - _added_rows(count, rows_per_slice), columns), array.dtype)
    for index in range(count):
        positions = np.arange(tilted.shape[1]) - first + index * rows_per_slice
        if labels:
            tilted[index] = array[index, np.clip(np.rint(positions).astype(int), 0, rows - 1)]
        else:
            tilted[index] = _interpolate_rows(array[index], positions, 0.0)
    return tilted


def _first_row(count: int, rows_per_slice: float) -> int:
    return int(np.floor(min(0.0, (count - 1) * rows_per_slice)))


def _added_rows(count: int, rows_per_slice: float) -> int:
    return int(np.ceil(abs((count - 1) * rows_per_slice)))


def _interpolate_rows(slice_: _Array, positions: npt.NDArray[np.float64], outside: float) -> _Array:
    # Two rows of padding on each side keep the neighbours of every position inside the array.
    padded = np.pad(slice_.astype(np.float32), ((2, 2), (0, 0)), constant_values=outside)
    positions = np.clip(positions + 2, 0, len(padded) - 2)
    lower = np.floor(positions).astype(int)
    share = (positions - lower).astype(np.float32)[:, None]
    mixed = padded[lower] * (1 - share) + padded[lower + 1] * share
    return mixed if slice_.dtype.kind == "f" else np.rint(mixed).astype(slice_.dtype)
