"""Lung volume and density by side.

The HU classes are the aeration compartments of quantitative CT: below -900 HU, -900 to -500, -500 to -100, and from
-100 upward (Gattinoni et al., "What has computed tomography taught us about the acute respiratory distress
syndrome?", Am J Respir Crit Care Med 164:1701-1711, 2001; used for COVID-19 by Lanza et al., Eur Radiol 30:6770-6778,
2020). The share below -950 HU is the low-attenuation area of emphysema studies (Gevenois et al., Am J Respir Crit
Care Med 154:187-192, 1996). They are ranges of density, not diagnoses: vessels, the depth of breath, the
reconstruction kernel and contrast medium move voxels between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from covid_bert.errors import ParameterError
from covid_bert.lungs.mask import LEFT_LUNG, RIGHT_LUNG, LungMask
from covid_bert.volumes.volume import Unit, Volume

# Lower limit (included) and upper limit (excluded) in HU.
HU_CLASSES = {
    "hyperaerated": (-np.inf, -900.0),
    "normally_aerated": (-900.0, -500.0),
    "poorly_aerated": (-500.0, -100.0),
    "non_aerated": (-100.0, np.inf),
}
LOW_ATTENUATION_HOUNSFIELD = -950.0


@dataclass(frozen=True)
class LungMeasurements:
    """Measurements of both lungs.

    Parameters
    ----------
    right_ml, left_ml, total_ml
        Volumes in ml; None where the voxel size is not known.
    right_mean_hu, left_mean_hu, mean_hu
        Mean density in HU; None for grey levels and for a side without lung.
    right_share_by_hu_class, left_share_by_hu_class
        Share of the side's voxels in each class of `HU_CLASSES`, in [0, 1]; None as above.
    right_low_attenuation_share, left_low_attenuation_share
        Share of the side's voxels below -950 HU; None as above.
    """

    right_ml: float | None
    left_ml: float | None
    total_ml: float | None
    right_mean_hu: float | None
    left_mean_hu: float | None
    mean_hu: float | None
    right_share_by_hu_class: dict[str, float] | None
    left_share_by_hu_class: dict[str, float] | None
    right_low_attenuation_share: float | None
    left_low_attenuation_share: float | None


@dataclass
class _Tally:
    """Counts of one side, gathered slice by slice."""

    voxels: int = 0
    total: float = 0.0
    low: int = 0
    classes: npt.NDArray[np.int64] | None = None

    def add(self, values: npt.NDArray[np.float32]) -> None:
        limits = [lower for lower, _ in HU_CLASSES.values()][1:]
        found = np.bincount(np.digitize(values, limits), minlength=len(HU_CLASSES))
        self.classes = found if self.classes is None else self.classes + found
        self.total += float(values.sum(dtype=np.float64))
        self.low += int(np.count_nonzero(values < LOW_ATTENUATION_HOUNSFIELD))

    def mean(self) -> float | None:
        return None if self.classes is None else self.total / self.voxels

    def shares(self) -> dict[str, float] | None:
        if self.classes is None:
            return None
        return {name: float(count) / self.voxels for name, count in zip(HU_CLASSES, self.classes, strict=True)}

    def low_share(self) -> float | None:
        return None if self.classes is None else self.low / self.voxels


def measure_lungs(volume: Volume, lungs: LungMask) -> LungMeasurements:
    """Measure volume and density of both lungs, slice by slice.

    Parameters
    ----------
    volume
        In HU or grey levels.
    lungs
        Mask on the same grid.

    Raises
    ------
    ParameterError
        If the mask has another shape.
    """
    if lungs.array.shape != volume.shape:
        raise ParameterError("The lung mask does not lie on the grid of the volume.", "Segment this volume again.")
    tallies = {RIGHT_LUNG: _Tally(), LEFT_LUNG: _Tally()}
    for values, labels in zip(volume.array, lungs.array, strict=True):
        for side, tally in tallies.items():
            inside = labels == side
            count = int(np.count_nonzero(inside))
            tally.voxels += count
            if count and volume.unit is Unit.HOUNSFIELD:
                tally.add(values[inside].astype(np.float32))
    return _measurements(volume, tallies[RIGHT_LUNG], tallies[LEFT_LUNG])


def _measurements(volume: Volume, right: _Tally, left: _Tally) -> LungMeasurements:
    known, voxel = volume.spacing_known, volume.voxel_milliliters
    both = right.voxels + left.voxels
    has_density = volume.unit is Unit.HOUNSFIELD and both > 0
    return LungMeasurements(
        right_ml=right.voxels * voxel if known else None,
        left_ml=left.voxels * voxel if known else None,
        total_ml=both * voxel if known else None,
        right_mean_hu=right.mean(),
        left_mean_hu=left.mean(),
        mean_hu=(right.total + left.total) / both if has_density else None,
        right_share_by_hu_class=right.shares(),
        left_share_by_hu_class=left.shares(),
        right_low_attenuation_share=right.low_share(),
        left_low_attenuation_share=left.low_share(),
    )
