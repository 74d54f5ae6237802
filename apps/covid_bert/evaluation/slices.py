"""Which slices are infected: detection against labels of slices."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from covid_bert.errors import ParameterError
from covid_bert.evaluation.estimates import Estimate, IndexArray, neighbouring_blocks, wilson_of_share
from covid_bert.evaluation.metrics import auc_estimate
from covid_bert.evaluation.results import SliceRow
from covid_bert.lesions import LesionMask
from covid_bert.lungs import LungMask
from covid_bert.volumes import Volume

# Neighbouring slices show the same lesion: the bootstrap draws blocks of this height.
BLOCK_MILLIMETERS = 20.0
# A slice counts as infected from this share of its lung.
FLAG_SHARE = 0.01
_DENSE_HOUNSFIELD = -700.0


def slice_row(
    volume: Volume,
    lungs: LungMask,
    expected_area: npt.NDArray[np.float64],
    lesion_share: npt.NDArray[np.float64],
    labels: npt.NDArray[np.bool_],
) -> SliceRow:
    """Compare the lesions of each slice with its label.

    Slices are ordered by their expected area of lesion, and flagged by the share of their lung that is marked.

    Parameters
    ----------
    volume, lungs
        The study.
    expected_area
        (slices): see `expected_lesion_area`.
    lesion_share
        (slices): lesion by lung voxels; NaN where there is no lung.
    labels
        (slices), foot to head: infected.

    Raises
    ------
    ParameterError
        If the numbers of slices differ, or no slice holds lung.
    """
    if not expected_area.shape == lesion_share.shape == labels.shape == volume.shape[:1]:
        raise ParameterError("Labels and slices do not belong together.", "Give one label for each slice.")
    held = np.flatnonzero(~np.isnan(lesion_share))
    if not held.size:
        raise ParameterError("No slice holds lung.", "Segment this volume again.")
    share, infected = lesion_share[held], labels[held]
    blocks = neighbouring_blocks(held.size, max(1, round(BLOCK_MILLIMETERS / volume.spacing[0])))
    flagged = share >= FLAG_SHARE
    return SliceRow(
        count=int(held.size),
        infected=int(np.count_nonzero(infected)),
        flagged=int(np.count_nonzero(flagged)),
        flag_share=FLAG_SHARE,
        auc=auc_estimate(expected_area[held], infected, blocks),
        share_auc=auc_estimate(share, infected, blocks),
        density_auc=auc_estimate(dense_area(volume, lungs)[held], infected, blocks),
        sensitivity=_rate(flagged, infected, blocks),
        specificity=_rate(~flagged, ~infected, blocks),
        labels=[bool(label) for label in labels],
    )


def expected_lesion_area(volume: Volume, lesions: LesionMask) -> npt.NDArray[np.float64]:
    """Area of each slice times probability of lesion, summed over the pixels of its lung: float64 (slices), in cm2."""
    sums = lesions.probability.sum(axis=(1, 2), dtype=np.float64) / 255.0
    return sums * (volume.spacing[1] * volume.spacing[2] / 100.0)


def dense_area(volume: Volume, lungs: LungMask) -> npt.NDArray[np.float64]:
    """Area of each slice's lung that is denser than -700 HU, float64 (slices), in cm2."""
    pixels = [
        np.count_nonzero(plane[labels > 0] > _DENSE_HOUNSFIELD)
        for plane, labels in zip(volume.array, lungs.array, strict=True)
    ]
    return np.array(pixels, np.float64) * (volume.spacing[1] * volume.spacing[2] / 100.0)


def _rate(right: npt.NDArray[np.bool_], members: npt.NDArray[np.bool_], blocks: list[IndexArray]) -> Estimate | None:
    """Share of the members that are right; each block with members is one trial. None without members."""
    if not members.any():
        return None
    trials = sum(bool(members[block].any()) for block in blocks)
    return wilson_of_share(float(right[members].mean()), trials)
