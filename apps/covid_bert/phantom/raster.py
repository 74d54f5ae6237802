"""Drawing tubes into an image, each only in the box that encloses it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from covid_bert.phantom.grid import FloatArray, Grid
from covid_bert.phantom.trees import Tubes

Box = tuple[slice, slice, slice]


def tube_coverage(tubes: Tubes, grid: Grid) -> Iterator[tuple[Box, FloatArray]]:
    """Yield, for each tube that meets the grid, its box and the share of each voxel that it fills.

    A tube thinner than a voxel fills only part of it, so it fades with its cross-section, as in a scanner.
    """
    width = grid.edge_width((0.577, 0.577, 0.577))
    reach = np.maximum(tubes.start_radii, tubes.end_radii)[:, None] + width / 2
    lower, upper = grid.enclosing(
        np.minimum(tubes.starts, tubes.ends) - reach, np.maximum(tubes.starts, tubes.ends) + reach
    )
    for index in np.flatnonzero((upper > lower).all(axis=1)):
        first, last = lower[index], upper[index]
        box = grid.box(tuple(first.tolist()), tuple(last.tolist()))
        distance, radius = _distance_from_axis(tubes, int(index), box)
        # The profile is a ramp of the voxel's width; its height is the share of the voxel that the tube can fill.
        height = np.minimum(1.0, (2.0 * radius / width) ** 2 + 0.02)
        share = np.clip(0.5 - (distance - radius) / np.float32(width), 0.0, 1.0) * height
        yield tuple(slice(a, b) for a, b in zip(first, last, strict=True)), share  # type: ignore[misc]


def draw(
    image: FloatArray,
    tubes: Tubes,
    grid: Grid,
    value: float,
    mask: npt.NDArray[np.bool_] | None = None,
    keep: npt.NDArray[np.generic] | None = None,
) -> None:
    """Blend tubes of one value into an image.

    Parameters
    ----------
    image
        float32 HU on `grid`, changed in place.
    tubes, grid
        What to draw, and where.
    value
        HU inside the tubes.
    mask
        If given, set True where a tube fills at least half of what its thickness lets it fill.
    keep
        If given, voxels where it is not 0 stay as they are.
    """
    for box, share in tube_coverage(tubes, grid):
        covered = share if keep is None else np.where(keep[box] == 0, share, np.float32(0))
        image[box] += covered * (value - image[box])
        if mask is not None:
            mask[box] |= covered >= 0.5 * max(float(covered.max()), 1e-3)


def _distance_from_axis(tubes: Tubes, index: int, box: Grid) -> tuple[FloatArray, FloatArray]:
    start, axis = tubes.starts[index], tubes.ends[index] - tubes.starts[index]
    x, y, z = (value - np.float32(offset) for value, offset in zip(box.coordinates(), start, strict=True))
    along, across, upward = (np.float32(value) for value in axis)
    squared = np.float32(max(float(axis @ axis), 1e-6))
    position = np.clip((x * along + y * across + z * upward) / squared, 0.0, 1.0)
    dx, dy, dz = x - position * along, y - position * across, z - position * upward
    first, last = tubes.start_radii[index], tubes.end_radii[index]
    radius = np.float32(first) + position * np.float32(last - first)
    return np.sqrt(dx * dx + dy * dy + dz * dz), radius
