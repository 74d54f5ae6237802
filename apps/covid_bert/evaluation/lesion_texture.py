"""Texture and edge of lesions: local deviation, correlation length and the density profile across the border."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize, special

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]
Spacing = tuple[float, float, float]

LOCAL_MEAN_MM = 5.0
LARGEST_LAG_MM = 30.0
EDGE_MM = 6
_FEWEST_VOXELS = 200
# Lung tissue nearer than this to the border of the lung is not shown beside a lesion: the wall shines in.
_BORDER_MARGIN = 4.0


def local_mean(values: FloatArray, mask: BoolArray, spacing: Spacing, sigma: float = LOCAL_MEAN_MM) -> FloatArray:
    """Gaussian mean in each slice over the voxels of the mask only, `sigma` in mm; meaningful inside the mask."""
    sigmas = (0.0, sigma / spacing[1], sigma / spacing[2])
    weight = ndimage.gaussian_filter(mask.astype(np.float32), sigmas)
    total = ndimage.gaussian_filter(np.where(mask, values, 0).astype(np.float32), sigmas)
    return total / np.maximum(weight, 1e-6)


def local_deviation(values: FloatArray, mask: BoolArray, spacing: Spacing) -> float | None:
    """Standard deviation in HU inside the mask after the 5 mm Gaussian mean was taken off; None for a small mask."""
    if np.count_nonzero(mask) < _FEWEST_VOXELS:
        return None
    return round(float((values - local_mean(values, mask, spacing))[mask].std()), 1)


def correlation_length(values: FloatArray, mask: BoolArray, spacing: Spacing, *, local: bool = False) -> float | None:
    """Distance in mm within a slice at which the correlation of two voxels of the mask has fallen to 1/e.

    Parameters
    ----------
    values, mask, spacing
        HU, voxels that count, and mm.
    local
        Take the 5 mm Gaussian mean off first (texture), else the mean of the mask (shape of the density).

    Returns
    -------
    float or None
        None for a small mask, or where the correlation stays above 1/e up to 30 mm.
    """
    if np.count_nonzero(mask) < _FEWEST_VOXELS:
        return None
    centre = local_mean(values, mask, spacing) if local else values[mask].mean()
    rest = np.where(mask, values - centre, 0).astype(np.float64)
    variance = (rest**2).sum() / mask.sum()
    step = (spacing[1] + spacing[2]) / 2
    previous = 1.0
    for lag in range(1, int(LARGEST_LAG_MM / step) + 1):
        products, pairs = 0.0, 0
        for axis in (1, 2):
            ahead = [slice(None)] * 3
            behind = [slice(None)] * 3
            ahead[axis], behind[axis] = slice(lag, None), slice(None, -lag)
            products += float((rest[tuple(ahead)] * rest[tuple(behind)]).sum())
            pairs += int((mask[tuple(ahead)] & mask[tuple(behind)]).sum())
        if pairs == 0:
            return None
        current = products / pairs / variance
        if current <= np.exp(-1):
            return round(step * (lag - 1 + (previous - np.exp(-1)) / (previous - current)), 2)
        previous = current
    return None


def edge_profile(
    values: FloatArray, lesion: BoolArray, lung: BoolArray, to_border: FloatArray, spacing: Spacing
) -> dict[str, Any]:
    """HU against the signed distance to the lesion's border in the slice, where it borders on lung.

    Parameters
    ----------
    values
        HU.
    lesion, lung
        Masks.
    to_border
        Distance in mm of each lung voxel to the border of the lung.
    spacing
        mm.

    Returns
    -------
    dict
        ``distance_mm`` (negative in the healthy lung, positive in the lesion), ``median_hu``, ``mean_hu``,
        ``deviation_hu`` in bins of 1 mm; ``sigma_mm`` of the Gaussian that would blur a sharp edge into the mean
        profile, ``step_hu``, its height, and ``middle_mm``, its place; None where the fit does not converge.
    """
    distance = np.full(lesion.shape, np.nan, np.float32)
    for index, plane in enumerate(lesion):
        if plane.any() and not plane.all():
            inside = ndimage.distance_transform_edt(plane, sampling=spacing[1:])
            outside = ndimage.distance_transform_edt(~plane, sampling=spacing[1:])
            half = (spacing[1] + spacing[2]) / 4
            distance[index] = np.where(plane, inside - half, half - outside)
    counted = lung & (to_border > _BORDER_MARGIN) & (np.abs(distance) <= EDGE_MM + 0.5)
    bins = np.rint(distance[counted]).astype(int)
    found = values[counted]
    rows: dict[str, list[float]] = {"distance_mm": [], "median_hu": [], "mean_hu": [], "deviation_hu": []}
    for place in range(-EDGE_MM, EDGE_MM + 1):
        here = found[bins == place]
        if here.size >= 30:
            for name, value in zip(rows, (place, np.median(here), here.mean(), here.std()), strict=True):
                rows[name].append(round(float(value), 1))
    return {**rows, **_blur(np.array(rows["distance_mm"]), np.array(rows["mean_hu"]))}


def _blur(distance: npt.NDArray[np.float64], profile: npt.NDArray[np.float64]) -> dict[str, float | None]:
    def blurred(place: Any, low: float, step: float, middle: float, sigma: float) -> Any:
        return low + step / 2 * (1 + special.erf((place - middle) / (abs(sigma) * np.sqrt(2))))

    missing: dict[str, float | None] = {"sigma_mm": None, "step_hu": None, "middle_mm": None}
    if distance.size < 6:
        return missing
    try:
        start = (profile[0], profile[-1] - profile[0], 0.0, 2.0)
        (_, step, middle, sigma), _ = optimize.curve_fit(blurred, distance, profile, start, maxfev=5000)
    except RuntimeError:
        return missing
    fitted = {"sigma_mm": abs(sigma), "step_hu": step, "middle_mm": middle}
    return {name: round(float(value), 2) for name, value in fitted.items()}
