"""The location map on the volume's grid: where the lesion network sees lesions, else where a score rests (Grad-CAM)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import interpolate

from covid_bert.lesions.mask import LESION_LABELS, LesionMask
from covid_bert.lungs.mask import LEFT_LUNG, RIGHT_LUNG, LungMask
from covid_bert.systems.result import LocationMap
from covid_bert.volumes.volume import Volume

GRAD_CAM_METHOD = (
    "Grad-CAM of the last feature map, mean over clips, inside the lungs, scaled to its maximum; interpolated between "
    "slices that the network saw, 0 beyond them"
)
LESION_METHOD = "probability of ground-glass or consolidation by the lesion network, inside the lungs"
_PEAK_NEIGHBOURHOOD = 9  # pixels


@dataclass(frozen=True, eq=False)
class StudyMap:
    """The location map of a study.

    Parameters
    ----------
    array
        uint8 (slices, rows, columns) on the volume's grid, 0 outside the lungs.
    method, target_class
        What it shows, and of which class.
    """

    array: npt.NDArray[np.uint8]
    method: str
    target_class: str


def grad_cam(features: Tensor, classify: Callable[[Tensor], Tensor], target: int) -> tuple[Tensor, Tensor]:
    """Grad-CAM that weighs the channels anew at each time step, and the logits from the same pass.

    Parameters
    ----------
    features
        (batch, channels, time, rows, columns), detached.
    classify
        From features to (batch, classes) logits; cheap, as only it is differentiated.
    target
        Class whose logit is explained.

    Returns
    -------
    cam
        float32 (batch, time, rows, columns), not negative.
    logits
        (batch, classes).

    Notes
    -----
    Selvaraju et al. 2017, with the weights averaged over space only: BERT pooling weighs time steps differently, and
    a mean over time would hide that.
    """
    with torch.enable_grad():
        features = features.float().requires_grad_()
        logits = classify(features)
        (gradient,) = torch.autograd.grad(logits[:, target].sum(), features)
    cam = (gradient.mean((-2, -1), keepdim=True) * features).sum(1).relu().detach()
    return cam, logits.detach()


class LocationAccumulator:
    """Mean Grad-CAM for each kept slice over all clips that hold it.

    Parameters
    ----------
    slices
        Number of kept slices.
    """

    def __init__(self, slices: int) -> None:
        self.slices = slices
        self.sum: npt.NDArray[np.float32] | None = None
        self.count = np.zeros(slices, np.float32)

    def add(self, positions: npt.NDArray[np.int64], cam: Tensor) -> None:
        """Add the (time, rows, columns) map of the clip at `positions`, interpolated to its slices."""
        rows, columns = cam.shape[-2:]
        stretched = interpolate(
            cam[None, None], size=(len(positions), rows, columns), mode="trilinear", align_corners=False
        )
        if self.sum is None:
            self.sum = np.zeros((self.slices, rows, columns), np.float32)
        np.add.at(self.sum, positions, stretched[0, 0].numpy())
        np.add.at(self.count, positions, 1.0)

    def mean(self) -> npt.NDArray[np.float32]:
        """(kept slices, rows, columns); slices between clips' slices are interpolated, those beyond them are 0."""
        if self.sum is None:
            raise ValueError("No clip was added.")
        seen = np.flatnonzero(self.count)
        mean = self.sum[seen] / self.count[seen, None, None]
        if len(seen) == self.slices:
            return mean
        below = np.clip(np.searchsorted(seen, np.arange(self.slices), side="right") - 1, 0, len(seen) - 1)
        above = np.clip(below + 1, 0, len(seen) - 1)
        distance = np.maximum(seen[above] - seen[below], 1)
        share = np.clip((np.arange(self.slices) - seen[below]) / distance, 0, 1)[:, None, None].astype(np.float32)
        filled = mean[below] * (1 - share) + mean[above] * share
        filled[: seen[0]] = 0
        filled[seen[-1] + 1 :] = 0
        return filled


def on_grid(
    location: npt.NDArray[np.float32],
    indices: npt.NDArray[np.int64],
    volume: Volume,
    lungs: LungMask,
    *,
    seen_share: float,
) -> npt.NDArray[np.uint8]:
    """Bring a location map onto the volume's grid, inside the lungs.

    Parameters
    ----------
    location
        (kept slices, rows, columns), coarse.
    indices
        Slice of the volume for each kept slice.
    volume, lungs
        The study.
    seen_share
        Share of a slice's rows and columns that the network's centre crop holds.

    Returns
    -------
    npt.NDArray[np.uint8]
        (slices, rows, columns), 0 ... 255 at the study's maximum inside the lungs; 0 outside of the lungs, of the
        crop and of the kept slices.
    """
    result = np.zeros(volume.shape, np.uint8)
    rows, columns = volume.shape[1:]
    height, width = round(rows * seen_share), round(columns * seen_share)
    top, left = (rows - height) // 2, (columns - width) // 2
    inside = lungs.array[:, top : top + height, left : left + width]

    def fine(position: int) -> npt.NDArray[np.float32]:
        coarse = torch.from_numpy(location[position])[None, None]
        resized = interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)[0, 0].numpy()
        return resized * (inside[indices[position]] > 0)

    # Two passes keep only one slice in single precision at a time, however long the study.
    maximum = max((float(fine(position).max()) for position in range(len(indices))), default=0.0)
    if maximum > 0:
        for position, index in enumerate(indices):
            scaled = np.rint(fine(position) * (255.0 / maximum))
            result[index, top : top + height, left : left + width] = scaled.astype(np.uint8)
    return result


def study_map(
    cam: npt.NDArray[np.float32],
    indices: npt.NDArray[np.int64],
    volume: Volume,
    lungs: LungMask,
    lesions: LesionMask | None,
    *,
    finding: str,
    seen_share: float,
) -> StudyMap:
    """Choose the map of a study: the lesion network's probability where there is one, else Grad-CAM of the score.

    Parameters
    ----------
    cam, indices, volume, lungs, seen_share
        See `on_grid`.
    lesions
        None where no lesion network took part.
    finding
        Class that `cam` explains.
    """
    if lesions is not None:
        return StudyMap(lesions.probability, LESION_METHOD, " or ".join(LESION_LABELS))
    return StudyMap(on_grid(cam, indices, volume, lungs, seen_share=seen_share), GRAD_CAM_METHOD, finding)


def summarise(map_: StudyMap, volume: Volume, lungs: LungMask, indices: npt.NDArray[np.int64]) -> LocationMap:
    """Say where the map's maximum and its weight lie.

    Parameters
    ----------
    map_, volume, lungs
        The study.
    indices
        Its kept slices, at least one. The maximum is one of theirs: the lesion network also sees slices beyond them,
        which took no part in the decision and have no evidence.
    """
    location = map_.array
    sums = [_weights_by_side(location[index], lungs.array[index]) for index in range(len(location))]
    right, left = (float(sum(side)) for side in zip(*sums, strict=True))
    total = right + left
    peak_slice = peak_ras = None
    kept = location[indices]
    if kept.any():
        place, row, column = _peak(kept)
        peak_slice = int(indices[place])
        point = volume.affine @ np.array([column, row, peak_slice, 1.0])
        peak_ras = [round(float(value), 1) for value in point[:3]] if volume.spacing_known else None
    return LocationMap(
        method=map_.method,
        target_class=map_.target_class,
        peak_slice=peak_slice,
        peak_ras_mm=peak_ras,
        right_share=right / total if total else 0.0,
        left_share=left / total if total else 0.0,
    )


def shares_by_slice(location: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Share of the whole map that lies in each slice; zeros for an empty map."""
    sums = np.array([plane.sum(dtype=np.int64) for plane in location], np.float64)
    return sums / sums.sum() if sums.sum() > 0 else sums


def _peak(location: npt.NDArray[np.uint8]) -> tuple[int, int, int]:
    """(slice, row, column) of the maximum; of equal ones, as a sure network has many, the one amid most of the map."""
    maxima = location.max(axis=(1, 2))
    equal = np.flatnonzero(maxima == maxima.max())
    slice_ = int(equal[np.argmax(location[equal].sum(axis=(1, 2), dtype=np.int64))])
    plane = location[slice_]
    around = ndimage.uniform_filter(plane.astype(np.float32), _PEAK_NEIGHBOURHOOD, mode="constant")
    around[plane < plane.max()] = -1.0
    row, column = np.unravel_index(int(around.argmax()), plane.shape)
    return slice_, int(row), int(column)


def _weights_by_side(location: npt.NDArray[np.uint8], lungs: npt.NDArray[np.uint8]) -> tuple[int, int]:
    return tuple(int(location[lungs == side].sum(dtype=np.int64)) for side in (RIGHT_LUNG, LEFT_LUNG))  # type: ignore[return-value]
