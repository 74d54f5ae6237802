"""How sure a segmentation network is of the borders that it draws."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def border_entropy(
    probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8], *, reach: int = 1
) -> float | None:
    """Mean entropy of a network's classes along the borders of what it segmented.

    The entropy (Shannon, Bell Syst Tech J 27:379-423, 1948) of all voxels would say how much border there is, rather
    than how sure the network is of it; of the border alone it grows where the border is vague.

    Parameters
    ----------
    probabilities
        (classes, slabs, rows, columns), not negative; they need not sum to one.
    labels
        (slabs, rows, columns): the class of each voxel.
    reach
        Voxels on either side of a border within a slab that belong to it, at least 1.

    Returns
    -------
    float or None
        In [0, 1]: 1 where all classes are equally likely. None where nothing was segmented, or everything.
    """
    total, count = 0.0, 0
    # A slab at a time: for a whole study this would be several more arrays of its size.
    for slab, plane in zip(np.moveaxis(probabilities, 1, 0), labels, strict=True):
        near = _near_border(plane, reach)
        if near.any():
            values = slab[:, near].astype(np.float64)
            values /= np.maximum(values.sum(axis=0), np.finfo(np.float64).tiny)
            total -= float((values * np.log(np.maximum(values, np.finfo(np.float64).tiny))).sum())
            count += values.shape[1]
    return total / (count * float(np.log(len(probabilities)))) if count else None


def _near_border(plane: npt.NDArray[np.uint8], reach: int) -> npt.NDArray[np.bool_]:
    """Pixels with another label at most `reach` pixels away along a row or column."""
    near = np.zeros(plane.shape, bool)
    for axis in (0, 1):
        along, marked = np.moveaxis(plane, axis, 0), np.moveaxis(near, axis, 0)
        for distance in range(1, reach + 1):
            differs = along[distance:] != along[:-distance]
            marked[distance:] |= differs
            marked[:-distance] |= differs
    return near
