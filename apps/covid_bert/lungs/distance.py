"""Morphology in millimetres: dilation, erosion, opening and closing with a ball, by Euclidean distance transforms.

Radii are distances between voxel centres, so that a slice spacing wider than the radius leaves slices apart: a
thick-slice study is then treated slice by slice.
"""

from __future__ import annotations

import edt
import numpy as np

from covid_bert.lungs.grid import BoolArray, FloatArray

Spacing = tuple[float, float, float]


def distance_inside(mask: BoolArray, spacing: Spacing) -> FloatArray:
    """Distance in mm of each voxel of `mask` to the nearest voxel outside it; 0 outside. Image borders do not count."""
    if mask.all():
        return np.full(mask.shape, np.inf, np.float32)
    return edt.edt(np.ascontiguousarray(mask), anisotropy=spacing, black_border=False, parallel=0)


def signed_distance(mask: BoolArray, spacing: Spacing) -> FloatArray:
    """Distance in mm to the boundary of `mask`, positive inside; the boundary lies half-way between voxels."""
    return distance_inside(mask, spacing) - distance_inside(~mask, spacing)


def dilate(mask: BoolArray, radius: float, spacing: Spacing) -> BoolArray:
    """Grow `mask` by `radius` mm."""
    if not mask.any():
        return mask.copy()
    return distance_inside(~mask, spacing) <= radius


def erode(mask: BoolArray, radius: float, spacing: Spacing) -> BoolArray:
    """Shrink `mask` by `radius` mm; the image border does not erode."""
    return distance_inside(mask, spacing) > radius


def open_(mask: BoolArray, radius: float, spacing: Spacing) -> BoolArray:
    """Remove parts of `mask` into which a ball of `radius` mm does not fit."""
    return dilate(erode(mask, radius, spacing), radius, spacing) & mask


def close(mask: BoolArray, radius: float, spacing: Spacing) -> BoolArray:
    """Fill gaps in `mask` into which a ball of `radius` mm does not fit."""
    margin = [(int(np.ceil(radius / step)) + 1,) * 2 for step in spacing]
    # Without the margin, whatever lies between the mask and the border of the image would count as a gap.
    grown = dilate(np.pad(mask, margin), radius, spacing)
    inner = tuple(slice(before, -after) for before, after in margin)
    return erode(grown, radius, spacing)[inner] | mask
