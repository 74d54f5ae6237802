"""Volume, share and place of lesions in the lungs.

The shares are those of quantitative CT in COVID-19 (Huang et al., "Serial Quantitative Chest CT Assessment of
COVID-19", Radiology: Cardiothoracic Imaging 2:e200075, 2020). Peripheral means near the surface of a lung, which
includes the surface towards mediastinum and diaphragm.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
import numpy.typing as npt

from covid_bert.errors import ParameterError
from covid_bert.lesions.mask import CONSOLIDATION, GROUND_GLASS, LesionMask
from covid_bert.lungs.boxes import box_around
from covid_bert.lungs.distance import distance_inside
from covid_bert.lungs.mask import LEFT_LUNG, RIGHT_LUNG, LungMask
from covid_bert.volumes.volume import Volume

PERIPHERAL_MILLIMETERS = 20.0
SMALLEST_COUNTED_MILLILITERS = 0.1


@dataclass(frozen=True)
class LesionMeasurements:
    """Measurements of the lesions inside the lungs; right and left are the patient's.

    Parameters
    ----------
    right_ground_glass_ml, left_ground_glass_ml, right_consolidation_ml, left_consolidation_ml, total_ml
        Volumes in ml; None where the voxel size is not known.
    right_share, left_share, share
        Lesion voxels by lung voxels of the right, the left and both lungs, in [0, 1]; None for a side without lung.
    count
        Connected lesions of at least 0.1 ml, each lung on its own; None where the voxel size is not known.
    lower_share
        Share of the lesions in the lower half of the lungs' height, in [0, 1]; None without lesions.
    peripheral_share
        Share of the lesions within 20 mm of the border of their lung, in [0, 1]; None without lesions or voxel size.
    share_by_slice
        float64 (slices): lesion voxels by lung voxels of each slice; NaN where it has no lung.
    """

    right_ground_glass_ml: float | None
    left_ground_glass_ml: float | None
    right_consolidation_ml: float | None
    left_consolidation_ml: float | None
    total_ml: float | None
    right_share: float | None
    left_share: float | None
    share: float | None
    count: int | None
    lower_share: float | None
    peripheral_share: float | None
    share_by_slice: npt.NDArray[np.float64]


def measure_lesions(volume: Volume, lungs: LungMask, lesions: LesionMask) -> LesionMeasurements:
    """Measure the lesions inside the lungs.

    Parameters
    ----------
    volume
        Of which the grid is used.
    lungs, lesions
        Masks on the volume's grid; lesion labels outside the lungs do not count.

    Raises
    ------
    ParameterError
        If a mask has another shape.
    """
    if not lungs.array.shape == lesions.array.shape == volume.shape:
        raise ParameterError("A mask does not lie on the grid of the volume.", "Segment this volume again.")
    # voxels[side, label] of each slice; side 0 is outside of the lungs, label 0 is lung without a lesion.
    voxels = np.stack([_tally(*planes) for planes in zip(lungs.array, lesions.array, strict=True)])
    lung_by_slice = voxels[:, 1:].sum((1, 2))
    lesion_by_slice = voxels[:, 1:, 1:].sum((1, 2))
    total, lesion_total = voxels.sum(0), int(lesion_by_slice.sum())
    known, voxel = volume.spacing_known, volume.voxel_milliliters

    def milliliters(side: int, label: int) -> float | None:
        return float(total[side, label]) * voxel if known else None

    def share(*sides: int) -> float | None:
        lung = int(total[list(sides)].sum())
        return float(total[list(sides), 1:].sum()) / lung if lung else None

    with np.errstate(invalid="ignore"):
        share_by_slice = lesion_by_slice / lung_by_slice
    return LesionMeasurements(
        right_ground_glass_ml=milliliters(RIGHT_LUNG, GROUND_GLASS),
        left_ground_glass_ml=milliliters(LEFT_LUNG, GROUND_GLASS),
        right_consolidation_ml=milliliters(RIGHT_LUNG, CONSOLIDATION),
        left_consolidation_ml=milliliters(LEFT_LUNG, CONSOLIDATION),
        total_ml=lesion_total * voxel if known else None,
        right_share=share(RIGHT_LUNG),
        left_share=share(LEFT_LUNG),
        share=share(RIGHT_LUNG, LEFT_LUNG),
        count=_count(volume, lungs, lesions) if known else None,
        lower_share=_lower_share(lung_by_slice, lesion_by_slice),
        peripheral_share=_peripheral(volume, lungs, lesions) / lesion_total if known and lesion_total else None,
        share_by_slice=share_by_slice,
    )


def _tally(lungs: npt.NDArray[np.uint8], lesions: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Voxels of one slice by (side, label)."""
    return np.bincount((lungs * np.uint8(3) + lesions).ravel(), minlength=9).reshape(3, 3)


def _lower_share(lung: npt.NDArray[np.int64], lesion: npt.NDArray[np.int64]) -> float | None:
    """Share of the lesions below the middle of the lungs' height; a slice across it is divided."""
    if not lesion.any():
        return None
    slices = np.flatnonzero(lung)
    middle = (slices[0] + slices[-1] + 1) / 2
    below = np.clip(middle - np.arange(len(lesion)), 0.0, 1.0)
    return float((lesion * below).sum() / lesion.sum())


def _count(volume: Volume, lungs: LungMask, lesions: LesionMask) -> int:
    smallest = SMALLEST_COUNTED_MILLILITERS / volume.voxel_milliliters
    found = (lesions.array > 0) & (lungs.array > 0)
    if not found.any():
        return 0
    box = box_around(found, 0.0, volume.spacing)
    # Labels by side, so that lesions of both lungs which touch in the middle stay two.
    components = cc3d.connected_components(lungs.array[box] * found[box], connectivity=26)
    return int(np.count_nonzero(np.bincount(components.ravel())[1:] >= smallest))


def _peripheral(volume: Volume, lungs: LungMask, lesions: LesionMask) -> int:
    """Lesion voxels near the border of their lung."""
    count = 0
    for side in (RIGHT_LUNG, LEFT_LUNG):
        lung = lungs.array == side
        found = lung & (lesions.array > 0)
        if found.any():
            # Whether a border lies near is decided in this box, which is far smaller than a study.
            box = box_around(found, PERIPHERAL_MILLIMETERS, volume.spacing)
            depth = distance_inside(lung[box], volume.spacing)
            count += int(np.count_nonzero(found[box] & (depth <= PERIPHERAL_MILLIMETERS)))
    return count
