"""Aerated lung on the coarse grid: which of the air inside the patient is lung."""

from __future__ import annotations

import cc3d
import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed

from covid_bert.lungs.body import AERATED_HOUNSFIELD
from covid_bert.lungs.boxes import box_around, labelled_boxes
from covid_bert.lungs.distance import dilate, erode, open_
from covid_bert.lungs.grid import BoolArray, CoarseGrid

_LUNG, _GAS = 1, 2
_PARENCHYMA_HOUNSFIELD = -500.0
_TISSUE_HOUNSFIELD = -300.0
_LUNG_BELOW = 20.0  # mm
_GAS_RADIUS = 2.5  # mm; smaller pockets of pure air are bronchi, bullae and noise
_LARGE_POCKET = 3.0  # ml
_GAS_SHELL = (2.5, 7.0)  # mm around a pocket of gas
_CORE_RADIUS = 2.5  # mm
_DENSER_THAN_AIR = 25.0  # HU
_SMALLEST_PIECE = 1.5  # ml
_PIECE_DISTANCE = 12.0  # mm


def aerated_lungs(grid: CoarseGrid, inside: BoolArray, airways: BoolArray, room_air: float) -> BoolArray:
    """Air inside the patient without airways, stomach and bowel gas.

    Parameters
    ----------
    grid
        Coarse volume.
    inside
        The patient without the room air.
    airways
        Trachea and main bronchi with their walls.
    room_air
        HU of pure air in this study.
    """
    air = (grid.values < AERATED_HOUNSFIELD) & inside & ~airways
    air &= ~_gas_filled(grid, air, room_air)
    return _lung_pieces(grid, air, room_air)


def _gas_filled(grid: CoarseGrid, air: BoolArray, room_air: float) -> BoolArray:
    """Stomach, bowel and oesophagus: what a watershed over the density gives to pockets of gas, not to lung."""
    lung_density = float(np.median(grid.values[air])) if air.any() else room_air
    limit = float(np.clip(room_air + 0.35 * (lung_density - room_air), -1005.0, -900.0))
    pockets = _gas_pockets(grid, air, limit, room_air + 0.2 * (lung_density - room_air))
    if not pockets.any():
        return pockets
    parenchyma = air & (grid.values >= limit) & (grid.values < _PARENCHYMA_HOUNSFIELD)
    labels = cc3d.connected_components(erode(parenchyma, _CORE_RADIUS, grid.spacing), connectivity=6)
    counts = cc3d.statistics(labels)["voxel_counts"] * grid.block_milliliters
    counts[0] = 0.0
    markers = np.zeros(air.shape, np.uint8)
    markers[(counts >= 0.08 * counts.max())[labels]] = _LUNG
    markers[pockets] = _GAS
    box = box_around(dilate(pockets, 25.0, grid.spacing) & air, 5.0, grid.spacing)
    result = np.zeros_like(air)
    result[box] = watershed(grid.values[box], markers[box], mask=air[box]) == _GAS
    return result


def _gas_pockets(grid: CoarseGrid, air: BoolArray, limit: float, median_limit: float) -> BoolArray:
    """Pockets of pure air that are not part of a lung, as bullae and emphysema are.

    A bulla is surrounded by lung, and lung follows below it; bowel gas has neither.
    """
    pure = open_((grid.values < limit) & air, _GAS_RADIUS, grid.spacing)
    parenchyma = (grid.values < _PARENCHYMA_HOUNSFIELD) & (grid.values >= limit) & air
    # Slices run from foot to head: what has been passed so far lies below.
    lung_below = np.cumsum(parenchyma, axis=0, dtype=np.float32) * grid.spacing[0] > _LUNG_BELOW
    labels = cc3d.connected_components(pure, connectivity=6)
    pockets = np.zeros_like(air)
    for label, box in labelled_boxes(labels, _GAS_SHELL[1], grid.spacing):
        pocket = labels[box] == label
        if np.median(grid.values[box][pocket]) > median_limit or lung_below[box][pocket].mean() >= 0.3:
            continue
        near = dilate(pocket, _GAS_SHELL[0], grid.spacing)
        shell = dilate(pocket, _GAS_SHELL[1], grid.spacing) & ~near & ~pure[box]
        around = grid.values[box][shell]
        lung = float(parenchyma[box][shell].mean()) if around.size else 0.0
        tissue = float((around > _TISSUE_HOUNSFIELD).mean()) if around.size else 1.0
        large = np.count_nonzero(pocket) * grid.block_milliliters > _LARGE_POCKET
        if lung < 0.3 or (lung < 0.45 and tissue > 0.55) or (lung < 0.6 and large):
            pockets[box] |= pocket
    return pockets


def _lung_pieces(grid: CoarseGrid, air: BoolArray, room_air: float) -> BoolArray:
    """Pieces as dense as lung: the large ones, and small ones close to them."""
    labels = cc3d.connected_components(air, connectivity=6)
    counts = cc3d.statistics(labels)["voxel_counts"] * grid.block_milliliters
    counts[0] = 0.0
    candidates = np.flatnonzero(counts >= _SMALLEST_PIECE)
    if candidates.size == 0:
        return np.zeros_like(air)
    lung_like = np.zeros(len(counts), bool)
    boxes = ndimage.find_objects(labels)
    for label in candidates:
        box = boxes[label - 1]
        lung_like[label] = np.median(grid.values[box][labels[box] == label]) > room_air + _DENSER_THAN_AIR
    large = lung_like & (counts >= 0.08 * counts[lung_like].max(initial=0.0))
    near = dilate(large[labels], _PIECE_DISTANCE, grid.spacing)
    reached = np.zeros(len(counts), bool)
    reached[np.unique(labels[near])] = True
    return (lung_like & reached)[labels]
