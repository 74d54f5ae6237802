"""Bounding boxes with a margin in mm, so that the work is done only where something lies."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from covid_bert.lungs.grid import BoolArray

Box = tuple[slice, slice, slice]


def box_around(mask: BoolArray, margin: float, spacing: tuple[float, float, float]) -> Box:
    """Box around all of a non-empty `mask`, with `margin` mm on each side where the array reaches that far."""
    extent = [np.flatnonzero(mask.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    tight = tuple(slice(int(found[0]), int(found[-1]) + 1) for found in extent)
    return _widen(tight, mask.shape, margin, spacing)


def labelled_boxes(
    labels: npt.NDArray[np.integer], margin: float, spacing: tuple[float, float, float]
) -> Iterator[tuple[int, Box]]:
    """Yield each label with its box, widened by `margin` mm."""
    for label, tight in enumerate(ndimage.find_objects(labels), start=1):
        if tight is not None:
            yield label, _widen(tight, labels.shape, margin, spacing)


def _widen(tight: tuple[slice, ...], shape: tuple[int, ...], margin: float, spacing: tuple[float, float, float]) -> Box:
    widened = []
    for part, size, step in zip(tight, shape, spacing, strict=True):
        more = int(np.ceil(margin / step)) + 1
        widened.append(slice(max(part.start - more, 0), min(part.stop + more, size)))
    return widened[0], widened[1], widened[2]
