"""Segmentations as the panel hands them over, brought onto the grid of their volume and checked.

This and what rests on it needs NumPy, which Slicer's Python has; it is loaded by those orders only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..client import LocalFileError
from ..client.backoff import Cancelled, check_cancelled
from ..client.transfers import local_file
from ..label_arrays import occupied_box
from .order import Order

# Grids whose corners differ by less than this share of a voxel are one grid.
_SAME_GRID_VOXELS = 1e-3
_RIGHT, _LEFT = 1, 2


class MaskProblemError(Exception):
    """A segmentation that is no mask; the panel says it in words.

    Parameters
    ----------
    kind
        ``outside``, ``unknown``, ``overlap``, ``empty`` or ``swapped``.
    segment
        Number of the segment in the order, None for the whole.
    """

    def __init__(self, kind: str, segment: int | None = None) -> None:
        super().__init__(kind)
        self.facts = {"kind": kind, "segment": segment}


@dataclass(frozen=True)
class Layer:
    """A labelmap, which segments may share.

    Parameters
    ----------
    path, dtype, sizes
        Its values, and how many there are along (i, j, k).
    first
        Index (i, j, k) of its first voxel on its own grid.
    matrix
        4x4, its own index (i, j, k, 1) to mm.
    """

    path: Path
    dtype: np.dtype
    sizes: tuple[int, ...]
    first: tuple[int, ...]
    matrix: np.ndarray

    def values(self) -> np.ndarray:
        """Return its values (k, j, i), which are read from the file as they are needed."""
        if self.path.stat().st_size != int(np.prod(self.sizes)) * self.dtype.itemsize:
            raise LocalFileError("The mask was not written completely.", "Check the free space, and try again.")
        return np.memmap(self.path, self.dtype, "r", shape=self.sizes[::-1])


@dataclass(frozen=True)
class Segment:
    """A segment: number of its layer (None for an empty one), its value there, its label (None for no known kind)."""

    layer: int | None
    value: int
    label: int | None


@dataclass(frozen=True)
class MaskParts:
    """A segmentation, and the grid of its volume.

    Parameters
    ----------
    layers, segments
        Of the segmentation.
    sizes, matrix
        Of the volume, as those of a layer.
    sides
        Whether labels 1 and 2 are the right and left lung.
    """

    layers: tuple[Layer, ...]
    segments: tuple[Segment, ...]
    sizes: tuple[int, ...]
    matrix: np.ndarray
    sides: bool


def read_mask(order: Order) -> MaskParts:
    """Read what `MaskCopy.order` of the panel holds; OrderError where a field is wrong."""
    layers = tuple(
        Layer(
            layer.path("raw"),
            np.dtype(layer.text("type")),
            _whole(layer, "sizes"),
            _whole(layer, "first"),
            _matrix(layer),
        )
        for layer in order.objects("layers")
    )
    segments = tuple(
        Segment(segment.optional_whole("layer"), int(segment.number("value", 1)), segment.optional_whole("label"))
        for segment in order.objects("segments")
    )
    return MaskParts(layers, segments, _whole(order, "sizes"), _matrix(order), order.flag("sides", False))


def assemble(parts: MaskParts, cancelled: Cancelled) -> np.ndarray:
    """Return the labels on the grid of the volume: voxel for voxel, or the nearest voxel of another grid.

    Returns
    -------
    uint8 (k, j, i).

    Raises
    ------
    MaskProblemError
        If segments are of no known kind, overlap or reach outside of the volume, if both lungs are empty, or if
        right and left are swapped.
    LocalFileError, CancelledError
        If a file cannot be read, or the user cancelled.
    """
    labels = np.zeros(parts.sizes[::-1], np.uint8)
    with local_file("read"):
        for number, (segment, found) in enumerate(_on_grid(parts, cancelled)):
            if found is None:
                continue
            window, inside = found
            if segment.label is None:
                if inside.any():
                    raise MaskProblemError("unknown", number)
                continue
            part = labels[window]
            if np.any(part[inside]):
                raise MaskProblemError("overlap", number)
            part[inside] = segment.label
    if parts.sides:
        _check_sides(labels, parts.matrix)
    return labels


def _on_grid(
    parts: MaskParts, cancelled: Cancelled
) -> Iterator[tuple[Segment, tuple[tuple[slice, ...], np.ndarray] | None]]:
    """Yield each segment with the box of the volume that it lies in and where it is in there; None for nothing."""
    known: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for number, segment in enumerate(parts.segments):
        check_cancelled(cancelled)
        if segment.layer is None:
            yield segment, None
            continue
        layer = parts.layers[segment.layer]
        if segment.layer not in known:
            values = layer.values()
            box = occupied_box(values)
            known[segment.layer] = values[box], np.array([part.start for part in box])
        values, corner = known[segment.layer]
        inside = values == segment.value
        box = occupied_box(inside)
        if not inside.any():
            yield segment, None
            continue
        inside = inside[box]
        low = np.array([part.start for part in box]) + corner + layer.first[::-1]
        yield segment, _placed(inside, low, layer.matrix, parts, number)


def _placed(
    inside: np.ndarray, low: np.ndarray, matrix: np.ndarray, parts: MaskParts, number: int
) -> tuple[tuple[slice, ...], np.ndarray]:
    """Bring voxels onto the grid of the volume; `low` is the index (k, j, i) of the first on their own grid."""
    between = np.linalg.inv(parts.matrix) @ matrix
    high = low + inside.shape - 1
    corners = np.array([[i, j, k, 1] for i in (low[2], high[2]) for j in (low[1], high[1]) for k in (low[0], high[0])])
    places = (between @ corners.T)[:3]
    shift = np.rint(between[:3, 3])
    exact = np.eye(4)
    exact[:3, 3] = shift
    sizes = np.array(parts.sizes)
    if np.abs((between - exact) @ corners.T).max() <= _SAME_GRID_VOXELS:
        start = low + shift[::-1].astype(int)
        if np.any(start < 0) or np.any(start + inside.shape > sizes[::-1]):
            raise MaskProblemError("outside", number)
        return tuple(slice(first, first + size) for first, size in zip(start, inside.shape)), inside
    if np.any(places < -0.5) or np.any(places > sizes[:, None] - 0.5):
        raise MaskProblemError("outside", number)
    # Half a voxel of the other grid lies around its centres.
    reach = np.abs(between[:3, :3]).sum(1) / 2
    first = np.maximum(np.floor(places.min(1) - reach), 0).astype(int)
    last = np.minimum(np.ceil(places.max(1) + reach), sizes - 1).astype(int)
    window = tuple(slice(start, stop + 1) for start, stop in zip(first[::-1], last[::-1]))
    return window, _nearest(inside, low, np.linalg.inv(between), first, last)


def _nearest(inside: np.ndarray, low: np.ndarray, back: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return the nearest voxels for a box of the volume, slice by slice; outside of their own box there are none."""
    found = np.zeros((last - first + 1)[::-1], bool)
    i, j = np.meshgrid(np.arange(first[0], last[0] + 1), np.arange(first[1], last[1] + 1))
    for k, slice_ in enumerate(found, first[2]):
        # floor(x + 1/2), as VTK rounds.
        steps = [
            np.floor(row[0] * i + row[1] * j + (row[2] * k + row[3]) + 0.5).astype(int) - start
            for row, start in zip(back[:3], low[::-1])
        ]
        valid = np.ones(i.shape, bool)
        for step, size in zip(steps, inside.shape[::-1]):
            valid &= (step >= 0) & (step < size)
        slice_[valid] = inside[tuple(step[valid] for step in steps[::-1])]
    return found


def _check_sides(labels: np.ndarray, affine: np.ndarray) -> None:
    """Refuse lungs without a voxel, and a right lung that lies to the left of the left one."""
    box = occupied_box(labels)
    labels = labels[box]
    if not labels.size:
        raise MaskProblemError("empty")
    to_the_right = []
    for label in (_RIGHT, _LEFT):
        inside = labels == label
        if not inside.any():
            return
        sums = [np.count_nonzero(inside, axis=axes) for axes in ((0, 1), (0, 2), (1, 2))]  # along i, j and k
        middle = [
            float(np.average(np.arange(len(sum_)) + part.start, weights=sum_)) for sum_, part in zip(sums, box[::-1])
        ]
        to_the_right.append(float(affine[0] @ [*middle, 1.0]))
    if to_the_right[0] <= to_the_right[1]:
        raise MaskProblemError("swapped")


def _whole(order: Order, name: str) -> tuple[int, ...]:
    return tuple(int(value) for value in order.numbers(name, 3))


def _matrix(order: Order) -> Any:
    return np.array(order.numbers("matrix", 16), float).reshape(4, 4)
