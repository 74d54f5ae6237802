"""Order and geometry of the slices of one DICOM series, from positions alone: names and numbers do not count."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from covid_bert.errors import (
    DuplicateSlicesError,
    GeometryError,
    MissingSlicesError,
    TooFewSlicesError,
    UnequalSlicesError,
)
from covid_bert.volumes.assembly import MIN_SLICES
from covid_bert.volumes.dicom_headers import SliceHeader
from covid_bert.volumes.dicom_selection import SAME_POSITION_MM
from covid_bert.volumes.geometry import LPS_TO_RAS

_Vector = npt.NDArray[np.float64]
# Scanners round positions to 0.1 mm and tables jitter; a slice that lies further off was not acquired regularly.
_STEP_TOLERANCE_MM = 0.1
_STEP_TOLERANCE = 0.01
_SIDEWAYS_TOLERANCE_MM = 0.5
_ORIENTATION_TOLERANCE = 1e-3

_REEXPORT = "Export the whole series again from the PACS."


def order_slices(headers: Sequence[SliceHeader], name: str) -> tuple[list[SliceHeader], _Vector]:
    """Sort the slices along their normal and check that they form one regular grid.

    Parameters
    ----------
    headers
        The slices of one series, in any order.
    name
        Base name of the folder, for messages.

    Returns
    -------
    headers
        In the order of their positions.
    affine
        4x4, (column, row, slice, 1) to RAS in mm; a gantry tilt is in it as a shear.

    Raises
    ------
    GeometryError
        If position, orientation or pixel spacing is missing or impossible, or positions are given in several frames
        of reference.
    UnequalSlicesError, DuplicateSlicesError, MissingSlicesError, TooFewSlicesError
        If the slices are no regular stack.
    """
    if len(headers) < MIN_SLICES:
        raise TooFewSlicesError(
            f"'{name}' has only {len(headers)} CT slice(s); a chest CT study needs at least {MIN_SLICES}.",
            "Give the folder that holds the whole series.",
            slices=len(headers),
        )
    _check_frame_of_reference(headers, name)
    row_direction, column_direction, spacing = _common_plane(headers, name)
    normal = np.cross(row_direction, column_direction)
    positions = np.asarray([header.position for header in headers], dtype=np.float64)
    order = np.argsort(positions @ normal, kind="stable")
    ordered = [headers[index] for index in order]
    positions = positions[order]
    _check_steps(positions @ normal)
    step = _common_step(positions, normal)
    lps = np.eye(4)
    lps[:3, 0] = row_direction * spacing[1]
    lps[:3, 1] = column_direction * spacing[0]
    lps[:3, 2] = step
    lps[:3, 3] = positions[0]
    return ordered, LPS_TO_RAS @ lps


def _check_frame_of_reference(headers: Sequence[SliceHeader], name: str) -> None:
    # Slices that name none are taken to lie in that of the others.
    found = {header.frame_of_reference for header in headers} - {""}
    if len(found) > 1:
        raise GeometryError(
            f"The slices of '{name}' lie in {len(found)} frames of reference: their positions cannot be compared.",
            "The patient was moved between two scans: export one of them as its own series.",
        )


def _common_plane(headers: Sequence[SliceHeader], name: str) -> tuple[_Vector, _Vector, tuple[float, float]]:
    """Return the directions along a row and down a column, and the spacing (rows, columns), that all slices share."""
    for field, keyword in (
        ("position", "ImagePositionPatient"),
        ("orientation", "ImageOrientationPatient"),
        ("pixel_spacing", "PixelSpacing"),
    ):
        missing = sum(getattr(header, field) is None for header in headers)
        if missing:
            raise GeometryError(f"{keyword} is missing or damaged in {missing} slice(s) of '{name}'.", _REEXPORT)
    sizes = {(header.rows, header.columns) for header in headers}
    orientations = np.asarray([header.orientation for header in headers], dtype=np.float64)
    spacings = np.asarray([header.pixel_spacing for header in headers], dtype=np.float64)
    if len(sizes) > 1:
        listed = ", ".join(f"{rows} x {columns}" for rows, columns in sorted(sizes))
        raise UnequalSlicesError(f"The slices of '{name}' have different sizes: {listed}.", _REEXPORT)
    if np.abs(orientations - orientations[0]).max() > _ORIENTATION_TOLERANCE:
        raise UnequalSlicesError(f"The slices of '{name}' have different directions.", _REEXPORT)
    if spacings.min() <= 0:
        raise GeometryError(f"The pixel spacing in '{name}' is zero or negative.", _REEXPORT)
    if np.abs(spacings / spacings[0] - 1).max() > 1e-3:
        raise UnequalSlicesError(f"The slices of '{name}' have different pixel spacings.", _REEXPORT)
    along, down = orientations[0][:3], orientations[0][3:]
    lengths = np.linalg.norm(along), np.linalg.norm(down)
    if abs(lengths[0] - 1) > 0.01 or abs(lengths[1] - 1) > 0.01 or abs(along @ down) > 0.01:
        raise GeometryError(f"The directions stored in '{name}' are not perpendicular unit vectors.", _REEXPORT)
    along = along / lengths[0]
    down = down - (down @ along) * along
    return along, down / np.linalg.norm(down), (float(spacings[0, 0]), float(spacings[0, 1]))


def _check_steps(heights: _Vector) -> None:
    """Refuse duplicates, gaps and irregular steps; `heights` are sorted positions along the normal in mm."""
    steps = np.diff(heights)
    same = np.flatnonzero(steps <= SAME_POSITION_MM)
    if len(same):
        raise DuplicateSlicesError(
            f"{len(same)} slice(s) lie at the position of another one, the first at {heights[same[0]]:.1f} mm.",
            "The series holds several phases or reconstructions: export one of them as its own series.",
            duplicates=len(same),
        )
    spacing = float(np.median(steps))
    tolerance = max(_STEP_TOLERANCE_MM, _STEP_TOLERANCE * spacing)
    # Whole multiples have to be near in relation to the spacing, or every irregularity of thin slices would be one.
    multiples = np.rint(steps / spacing)
    fits = np.abs(steps - multiples * spacing) <= np.minimum(tolerance * multiples, 0.25 * spacing)
    gaps = np.flatnonzero((multiples >= 2) & fits)
    irregular = np.flatnonzero(~fits)
    if len(irregular):
        raise _unequal(float(steps.min()), float(steps.max()), float(heights[irregular[0]]))
    if len(gaps):
        missing = int(multiples[gaps].sum() - len(gaps))
        where = "; ".join(f"{heights[gap]:.1f} and {heights[gap + 1]:.1f} mm" for gap in gaps[:5])
        raise MissingSlicesError(
            f"{missing} slice(s) are missing, between {where}{' and elsewhere' if len(gaps) > 5 else ''}.",
            _REEXPORT,
            missing=missing,
            gaps_mm=[[round(float(heights[gap]), 2), round(float(heights[gap + 1]), 2)] for gap in gaps],
        )
    drift = np.abs(heights - np.linspace(heights[0], heights[-1], len(heights))).max()
    if drift > _STEP_TOLERANCE_MM + 0.25 * spacing:
        raise _unequal(float(steps.min()), float(steps.max()), float(heights[0]))


def _unequal(smallest: float, largest: float, where: float) -> UnequalSlicesError:
    return UnequalSlicesError(
        f"The distance between slices changes from {smallest:.2f} to {largest:.2f} mm (first at {where:.1f} mm).",
        "Export one series with equal spacing.",
    )


def _common_step(positions: _Vector, normal: _Vector) -> _Vector:
    """Return the mean vector from one slice to the next, after checking that slices do not wander sideways."""
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    deviation = positions - positions[0] - np.arange(len(positions))[:, None] * step
    sideways = deviation - np.outer(deviation @ normal, normal)
    if np.linalg.norm(sideways, axis=1).max() > _SIDEWAYS_TOLERANCE_MM:
        raise UnequalSlicesError(
            "The slices are shifted against each other within their plane.",
            "Export one series without a table shift.",
        )
    return step
