"""Lungs of a HU volume by three-dimensional morphology, without any trained weights.

The order follows section 3.1 of Tan and Liu, "A 3D CNN network with BERT for automatic COVID-19 diagnosis from
CT-scan images" (arXiv 2106.14403): binarise, clear what touches the border, label, keep the lungs, close, fill holes.
What is new here: it works in mm on HU in three dimensions, leaves out airways and bowel gas, and tells the sides
apart.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from covid_bert.lungs.airways import airway_wall, find_airways
from covid_bert.lungs.body import AERATED_HOUNSFIELD, find_body
from covid_bert.lungs.boundary import full_resolution
from covid_bert.lungs.boxes import box_around
from covid_bert.lungs.grid import BoolArray, CoarseGrid, coarsen
from covid_bert.lungs.lesions import close_lungs
from covid_bert.lungs.mask import LungMask
from covid_bert.lungs.parenchyma import aerated_lungs
from covid_bert.lungs.plausibility import check_lungs, no_lungs
from covid_bert.lungs.sides import assign_sides
from covid_bert.progress import Progress
from covid_bert.volumes.volume import Volume

METHOD = "morphological"
STAGE = "lungs"
_MARGIN = 30.0  # mm


def segment(volume: Volume, progress: Progress | None = None) -> LungMask:
    """Segment right and left lung.

    Parameters
    ----------
    volume
        In HU.
    progress
        Told the finished fraction; may cancel between steps.

    Raises
    ------
    NotChestError
        If no lungs are found.
    CancelledError
        If `progress` was cancelled.
    """
    progress = progress or Progress()
    progress.update(STAGE, 0.0)
    grid = coarsen(volume)
    progress.update(STAGE, 0.2)
    patient = find_body(grid)
    aerated = (grid.values < AERATED_HOUNSFIELD) & ~patient.outside
    if not aerated.any():
        raise no_lungs()
    progress.update(STAGE, 0.3)
    box = box_around(aerated, _MARGIN, grid.spacing)
    sides, airways = np.zeros(aerated.shape, np.uint8), np.zeros(aerated.shape, bool)
    sides[box], airways[box] = _coarse_lungs(
        grid.crop(box), ~patient.outside[box], patient.midline - box[2].start, patient.room_air, progress
    )
    warnings = check_lungs(sides, grid.values, grid.spacing)
    progress.update(STAGE, 0.8)
    mask = full_resolution(volume, grid, sides, airways, lambda done: progress.update(STAGE, 0.8 + 0.2 * done))
    progress.update(STAGE, 1.0)
    return LungMask(mask, METHOD, warnings)


def _coarse_lungs(
    grid: CoarseGrid, inside: BoolArray, midline: float, room_air: float, progress: Progress
) -> tuple[npt.NDArray[np.uint8], BoolArray]:
    """Closed lungs with their sides, and the airways with their walls, on the coarse grid."""
    airways = airway_wall(find_airways(grid, inside, midline), grid)
    progress.update(STAGE, 0.4)
    lungs = aerated_lungs(grid, inside, airways, room_air)
    if not lungs.any():
        raise no_lungs()
    progress.update(STAGE, 0.6)
    sides = assign_sides(lungs, grid, midline)
    progress.update(STAGE, 0.7)
    return close_lungs(sides, grid, ~inside | airways, midline), airways
