"""Which lung is right and which is left, also where they touch."""

from __future__ import annotations

import cc3d
import numpy as np
import numpy.typing as npt
from skimage.segmentation import watershed

from covid_bert.lungs.distance import distance_inside
from covid_bert.lungs.grid import BoolArray, CoarseGrid, FloatArray
from covid_bert.lungs.mask import LEFT_LUNG, RIGHT_LUNG

_MARKER_MILLILITERS = 60.0
_MARKER_SHARE = 0.08
# Shares on the left within which a piece may be, and all lungs together must be, two lungs.
_SPANNING = (0.1, 0.9)
_BOTH_SIDES = (0.25, 0.75)
_NECK_HOUNSFIELD_PER_MM = 20.0
_NECK_DEPTH = 15.0  # mm
_EROSION_STEPS = (0.0, 2.5, 4.0, 5.5, 7.0, 9.0, 11.0, 13.0, 16.0, 20.0, 25.0)  # mm


def assign_sides(lungs: BoolArray, grid: CoarseGrid, midline: float) -> npt.NDArray[np.uint8]:
    """Label each block of the lungs as right or left.

    The lungs are eroded until two large pieces with centres on both sides of the midline remain; a watershed over
    the density then gives every block to one of them, so that the border follows the septum where they touch.

    Parameters
    ----------
    lungs
        Both lungs on the coarse grid.
    grid
        Coarse volume.
    midline
        Column of the patient's midline.

    Returns
    -------
    uint8 array
        0 background, 1 right, 2 left. Only one side is present if there is only one lung.
    """
    depth = distance_inside(lungs, grid.spacing)
    markers = _markers(lungs, depth, grid, midline)
    # The border runs along the septum, and where none is seen, through the neck between the lungs.
    landscape = grid.values - _NECK_HOUNSFIELD_PER_MM * np.minimum(depth, _NECK_DEPTH)
    labels = watershed(landscape, markers, mask=lungs).astype(np.uint8)
    unreached = lungs & (labels == 0)
    if unreached.any():
        labels[unreached] = _side_of(np.nonzero(unreached)[2], midline)
    return labels


def _markers(lungs: BoolArray, depth: FloatArray, grid: CoarseGrid, midline: float) -> npt.NDArray[np.uint8]:
    """Seeds of the two sides: the large pieces after the mildest erosion that leaves none on both sides.

    Where no erosion does, the lungs are cut at the midline; a single lung that bulges over it is not.
    """
    total = np.count_nonzero(lungs) * grid.block_milliliters
    smallest = min(_MARKER_MILLILITERS, _MARKER_SHARE * total)
    for radius in _EROSION_STEPS:
        markers, spans = _pieces(depth > radius, grid, midline, smallest)
        if not spans and markers.any():
            return markers
    columns = np.nonzero(lungs)[2]
    left_share = float((columns > midline).mean())
    if _BOTH_SIDES[0] < left_share < _BOTH_SIDES[1]:
        side = _side_of(columns, midline)
    else:
        side = np.full(columns.shape, RIGHT_LUNG if left_share < 0.5 else LEFT_LUNG)
    markers = np.zeros(lungs.shape, np.uint8)
    markers[lungs] = side
    return markers


def _pieces(eroded: BoolArray, grid: CoarseGrid, midline: float, smallest: float) -> tuple[npt.NDArray[np.uint8], bool]:
    """Markers from the large pieces, and whether one of the pieces reaches far into both sides."""
    labels = cc3d.connected_components(eroded, connectivity=6)
    markers = np.zeros(eroded.shape, np.uint8)
    spans = False
    counts = cc3d.statistics(labels)["voxel_counts"]
    for label in range(1, len(counts)):
        if counts[label] * grid.block_milliliters < smallest:
            continue
        piece = labels == label
        columns = np.nonzero(piece)[2]
        left_share = float((columns > midline).mean())
        spans |= _SPANNING[0] < left_share < _SPANNING[1]
        markers[piece] = RIGHT_LUNG if left_share < 0.5 else LEFT_LUNG
    return markers, spans


def _side_of(columns: npt.NDArray[np.intp], midline: float) -> npt.NDArray[np.uint8]:
    return np.where(columns > midline, LEFT_LUNG, RIGHT_LUNG).astype(np.uint8)
