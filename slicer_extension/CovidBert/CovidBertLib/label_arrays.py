"""Arrays of labels (k, j, i), for the panel and for the worker; needs NumPy, which Slicer's Python has."""

from __future__ import annotations

import zlib

import numpy as np


def checksum(labels: np.ndarray) -> str:
    """Return place and checksum of the labels of a mask, uint8 (k, j, i): as the server sent it it is known again."""
    box = occupied_box(labels)
    inside = np.ascontiguousarray(labels[box], np.uint8)
    starts = "x".join(str(part.start) for part in box)
    return f"{starts}-{'x'.join(str(count) for count in inside.shape)}-{zlib.crc32(inside):08x}"


def occupied_box(labels: np.ndarray) -> tuple[slice, ...]:
    """Return the smallest box around the voxels (k, j, i) that are not 0; of no size where all are."""
    plane = labels.any(axis=0)
    box = []
    for line in (labels.any(axis=(1, 2)), plane.any(axis=1), plane.any(axis=0)):
        occupied = np.flatnonzero(line)
        box.append(slice(int(occupied[0]), int(occupied[-1]) + 1) if len(occupied) else slice(0, 0))
    return tuple(box)
