"""Synthetic chests with sharp edges, whose masks are known exactly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from covid_bert.volumes.orientation import NativeGrid
from covid_bert.volumes.volume import Source, Unit, Volume


def make_volume(
    array: npt.NDArray[np.generic],
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0),
    unit: Unit = Unit.HOUNSFIELD,
) -> Volume:
    """Wrap a canonical array."""
    affine = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
    return Volume(
        np.ascontiguousarray(array),
        affine,
        unit,
        Source(Path("made"), "made"),
        NativeGrid((array.shape[2], array.shape[1], array.shape[0]), affine.copy()),
        spacing_known=unit is Unit.HOUNSFIELD,
    )


@dataclass(frozen=True)
class ChestGrid:
    """Coordinates in mm around the middle of a box of 240 x 260 x 360 mm (slices, rows, columns)."""

    spacing: tuple[float, float, float] = (3.0, 2.5, 2.5)

    def __post_init__(self) -> None:
        sizes = [round(extent / step) for extent, step in zip((240, 260, 360), self.spacing, strict=True)]
        axes = [(np.arange(size) - (size - 1) / 2) * step for size, step in zip(sizes, self.spacing, strict=True)]
        object.__setattr__(self, "z", axes[0][:, None, None])
        object.__setattr__(self, "y", axes[1][None, :, None])
        object.__setattr__(self, "x", axes[2][None, None, :])

    def ball(self, center: tuple[float, float, float], radius: float) -> npt.NDArray[np.bool_]:
        return self.ellipsoid(center, (radius, radius, radius))

    def ellipsoid(self, center: tuple[float, float, float], radii: tuple[float, float, float]) -> npt.NDArray[np.bool_]:
        parts = zip((self.z, self.y, self.x), center, radii, strict=True)  # type: ignore[attr-defined]
        return sum(((axis - middle) / radius) ** 2 for axis, middle, radius in parts) <= 1.0  # type: ignore[no-any-return]

    def cylinder(self, y: float, x: float, radius: float, low: float, high: float) -> npt.NDArray[np.bool_]:
        inside = np.hypot(self.y - y, self.x - x) <= radius  # type: ignore[attr-defined]
        return inside & (self.z >= low) & (self.z <= high)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Chest:
    """A body with two ellipsoid lungs, a spine and a trachea above the lungs' upper third."""

    grid: ChestGrid
    array: npt.NDArray[np.int16]
    right: npt.NDArray[np.bool_]
    left: npt.NDArray[np.bool_]
    trachea: npt.NDArray[np.bool_]

    @property
    def volume(self) -> Volume:
        return make_volume(self.array, self.grid.spacing)

    def painted(self, where: npt.NDArray[np.bool_], hounsfield: float) -> Chest:
        array = self.array.copy()
        array[where] = hounsfield
        return replace(self, array=array)


def make_chest(spacing: tuple[float, float, float] = (3.0, 2.5, 2.5), lung_gap: float = 30.0) -> Chest:
    """Make a chest whose lungs are `lung_gap` mm apart in the middle."""
    grid = ChestGrid(spacing)
    body = grid.ellipsoid((0, 0, 0), (1000, 105, 155))
    width = 55.0
    right = grid.ellipsoid((0, 0, -(lung_gap / 2 + width)), (95, 75, width))
    left = grid.ellipsoid((0, 0, lung_gap / 2 + width), (95, 75, width)) & ~right
    trachea = grid.cylinder(-5, 0, 8, 30, 120) & ~right & ~left
    array = np.full(body.shape, -1000.0)
    array[body] = 40
    array[grid.cylinder(85, 0, 14, -120, 120)] = 400
    array[right | left] = -850
    array[trachea] = -990
    noise = np.random.default_rng(0).normal(0, 12, array.shape)
    return Chest(grid, np.round(array + noise).astype(np.int16), right, left, trachea)


def dice(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    """Dice coefficient of two masks."""
    return 2.0 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))
