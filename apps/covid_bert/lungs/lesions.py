"""Vessels and dense lesions taken into the lungs, which a threshold leaves out."""

from __future__ import annotations

import cc3d
import fill_voids
import numpy as np
import numpy.typing as npt

from covid_bert.lungs.boxes import box_around
from covid_bert.lungs.distance import Spacing, close, open_
from covid_bert.lungs.grid import BoolArray, CoarseGrid
from covid_bert.lungs.mask import LEFT_LUNG, RIGHT_LUNG

_VESSEL_RADIUS = 5.0  # mm
_LESION_RADIUS = 10.0  # mm
_PLEURAL_RADIUS = 40.0  # mm
_SOFT_TISSUE_LIMIT = 110.0  # HU; denser is bone or enhanced blood
_SMALLEST_LESION = 2.0  # ml
_LESION_THICKNESS = 4.0  # mm, radius
_SECTORS = 360


def close_lungs(
    sides: npt.NDArray[np.uint8], grid: CoarseGrid, forbidden: BoolArray, midline: float
) -> npt.NDArray[np.uint8]:
    """Close both lungs over vessels, nodules and consolidation.

    Parameters
    ----------
    sides
        Aerated lungs on the coarse grid: 0, 1 right, 2 left.
    grid
        Coarse volume.
    forbidden
        What must not be taken in: room air, airways, bowel gas.
    midline
        Column of the patient's midline.
    """
    closed = sides.copy()
    centre = float(np.nonzero(sides.any(axis=(0, 2)))[0].mean()), midline
    for side in (RIGHT_LUNG, LEFT_LUNG):
        lung = sides == side
        if lung.any():
            box = box_around(lung, _PLEURAL_RADIUS, grid.spacing)
            allowed = ~forbidden[box] & ((closed[box] == 0) | lung[box])
            middle = (centre[0] - box[1].start, centre[1] - box[2].start)
            closed[box][_close(lung[box], grid.values[box], allowed, grid.spacing, middle)] = side
    return closed


def _close(
    lung: BoolArray,
    values: npt.NDArray[np.float32],
    allowed: BoolArray,
    spacing: Spacing,
    centre: tuple[float, float],
) -> BoolArray:
    """Close one lung: gaps narrower than 10 mm, those narrower than 20 mm without bone, then lesions at the pleura."""
    soft = (values < _SOFT_TISSUE_LIMIT) & allowed
    closed = lung | (close(lung, _VESSEL_RADIUS, spacing) & allowed)
    closed |= close(closed, _LESION_RADIUS, spacing) & soft
    closed |= _pleural_lesions(closed, soft, spacing, centre)
    closed |= close(closed, _VESSEL_RADIUS, spacing) & soft
    return fill_voids.fill(closed) & allowed


def _pleural_lesions(lung: BoolArray, soft: BoolArray, spacing: Spacing, centre: tuple[float, float]) -> BoolArray:
    """Consolidation that lies broadly against the chest wall.

    The outer surface of a lung is convex, so a wide ball closes over a defect of it without leaving the chest; the
    same ball would fill the angles at the heart, the mediastinum and the diaphragm. There, lung follows further
    outward, and it does not behind a lesion at the wall.
    """
    defect = close(lung, _PLEURAL_RADIUS, spacing) & soft & ~lung
    defect &= ~_lung_further_out(lung, spacing, centre)
    pieces = open_(defect, _LESION_THICKNESS, spacing)
    return cc3d.dust(pieces, threshold=int(_SMALLEST_LESION * 1000.0 / np.prod(spacing)), connectivity=6)


def _lung_further_out(lung: BoolArray, spacing: Spacing, centre: tuple[float, float]) -> BoolArray:
    """Whether, seen from the middle of the chest, lung lies behind a block in the same slice."""
    row, column = np.ogrid[: lung.shape[1], : lung.shape[2]]
    up, along = (row - centre[0]) * spacing[1], (column - centre[1]) * spacing[2]
    radius = np.hypot(up, along).astype(np.float32)
    sector = ((np.arctan2(up, along) + np.pi) * (_SECTORS / (2 * np.pi))).astype(int) % _SECTORS
    behind = np.zeros_like(lung)
    for lung_slice, behind_slice in zip(lung, behind, strict=True):
        outermost = np.zeros(_SECTORS, np.float32)
        np.maximum.at(outermost, sector[lung_slice], radius[lung_slice])
        behind_slice[:] = radius < outermost[sector]
    return behind
