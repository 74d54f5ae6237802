"""Opacities: what one lesion looks like, and how it is added to the HU of a real lung.

Lung is tissue and air. An opacity replaces a share of the air by fluid or cells, so a voxel at ``h`` HU moves towards
the density of the filling: ``h + fill * (filling - h)``. Vessels, which hold no air, stay as they are and show through
ground-glass; airways stay dark until they are filled too (air bronchograms).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from covid_bert.lesions.mask import CONSOLIDATION, GROUND_GLASS
from covid_bert.phantom.grid import FloatArray, Grid
from covid_bert.synthesis.fields import ridges, texture
from covid_bert.synthesis.space import LungSpace

# Voxels with this share of a lesion and more belong to it.
LABEL_COVERAGE = 0.5
# From here on readers called lung consolidated: about the lower quartile of it in `lesion_statistics.json`.
CONSOLIDATED_HOUNSFIELD = -350.0
REACH = 1.9


@dataclass(frozen=True)
class Opacity:
    """One lesion.

    Parameters
    ----------
    center
        mm (x, y, z) in the frame of `LungSpace.grid`.
    side
        1 right, 2 left lung.
    radii
        mm (x, y, z).
    shape
        ``patch``: a lobulated ellipsoid; ``band``: a layer along the lung border; ``lobar``: an ellipsoid cut by an
        oblique plane, as a fissure does.
    fill
        Mean share of the air that is replaced in the ground-glass part, in (0, 1).
    core
        Radius of the consolidated core relative to the lesion; 0 without one.
    core_fill
        Share of the air that is replaced in the core.
    filling
        HU of what replaces the air.
    edge
        Width of the border in mm.
    irregularity
        Of the outline, relative to the radius.
    unevenness
        Standard deviation of the fill relative to its mean.
    septa
        Additional fill on the septa (crazy paving); 0 without.
    bronchograms
        Whether airways stay open in the core.
    normal
        Of the plane that cuts a ``lobar`` lesion, (x, y, z).
    seed
        Of outline and texture.
    """

    center: tuple[float, float, float]
    side: int
    radii: tuple[float, float, float]
    shape: str
    fill: float
    core: float
    core_fill: float
    filling: float
    edge: float
    irregularity: float
    unevenness: float
    septa: float
    bronchograms: bool
    normal: tuple[float, float, float]
    seed: int


def plant(image: FloatArray, space: LungSpace, opacities: list[Opacity], parenchyma: float) -> npt.NDArray[np.uint8]:
    """Add opacities, and label them by the density that they have together.

    Parameters
    ----------
    image
        float32 HU on `space.grid`, changed in place.
    space, opacities
        Where and what.
    parenchyma
        HU of the healthy lung of this study.

    Returns
    -------
    ndarray
        uint8 on the same grid: `GROUND_GLASS` and `CONSOLIDATION` inside the lungs. Fine texture, vessels and airways
        do not decide it.
    """
    density = np.full(image.shape, parenchyma, np.float32)
    covered = np.zeros(image.shape, np.bool_)
    for opacity in opacities:
        _plant_one(image, density, covered, space, opacity)
    labels = np.where(density > CONSOLIDATED_HOUNSFIELD, CONSOLIDATION, GROUND_GLASS).astype(np.uint8)
    labels[~covered] = 0
    return labels


def _plant_one(
    image: FloatArray, density: FloatArray, covered: npt.NDArray[np.bool_], space: LungSpace, opacity: Opacity
) -> None:
    """Add one opacity to the picture, to the density without texture, and to the voxels that belong to a lesion."""
    found = _box(space.grid, opacity)
    if found is None:
        return
    box, grid = found
    generator = np.random.default_rng(opacity.seed)
    own = space.lungs[box] == opacity.side
    outline = texture(generator, grid, generator.uniform(8.0, 22.0), max(30.0, 3.0 * max(opacity.radii)), 40)
    distance = _distance(opacity, grid, space.depth[box]) + np.float32(opacity.irregularity) * outline
    size = np.float32(min(opacity.radii))
    coverage = np.clip((1.0 - distance) * size / np.float32(opacity.edge) + 0.5, 0.0, 1.0) * own
    uneven = texture(generator, grid, 2.5, 14.0, 64)
    fill = np.float32(opacity.fill) * (1.0 + np.float32(opacity.unevenness) * uneven)
    if opacity.septa > 0:
        fill = fill + np.float32(opacity.septa) * ridges(generator, grid, generator.uniform(9.0, 15.0), 0.35)
    if opacity.core > 0:
        inner = np.clip((np.float32(opacity.core) - distance) * size / np.float32(opacity.edge) + 0.5, 0.0, 1.0)
        core_fill = np.float32(opacity.core_fill) * (1.0 + 0.05 * uneven)
        if opacity.bronchograms:
            core_fill = core_fill * (1.0 - 0.75 * _tubes(generator, grid))
        fill = fill + inner * (core_fill - fill)
    fill = np.clip(fill, 0.05, 1.0)
    before = image[box]
    air = np.maximum(np.float32(opacity.filling) - before, 0.0)
    image[box] = before + coverage * fill * air
    smooth = opacity.fill if opacity.core == 0 else opacity.fill + inner * (opacity.core_fill - opacity.fill)
    density[box] += coverage * smooth * np.maximum(np.float32(opacity.filling) - density[box], 0.0)
    covered[box] |= coverage >= LABEL_COVERAGE


def _box(grid: Grid, opacity: Opacity) -> tuple[tuple[slice, slice, slice], Grid] | None:
    center = np.array([opacity.center])
    reach = REACH * np.array([opacity.radii]) + opacity.edge
    lower, upper = grid.enclosing(center - reach, center + reach)
    if not (upper > lower).all():
        return None
    first, last = lower[0].tolist(), upper[0].tolist()
    box = (slice(first[0], last[0]), slice(first[1], last[1]), slice(first[2], last[2]))
    return box, grid.box((first[0], first[1], first[2]), (last[0], last[1], last[2]))


def _distance(opacity: Opacity, grid: Grid, depth: FloatArray) -> FloatArray:
    """Distance from the lesion's centre, 1 on its border."""
    x, y, z = (
        (value - np.float32(center)) / np.float32(radius)
        for value, center, radius in zip(grid.coordinates(), opacity.center, opacity.radii, strict=True)
    )
    distance = np.sqrt(x * x + y * y + z * z)
    if opacity.shape == "band":
        # As thick as a third of the smallest radius everywhere, however the lung border runs.
        thickness = np.float32(max(4.0, 0.45 * min(opacity.radii)))
        distance = np.sqrt((0.75 * distance) ** 2 + (depth / thickness) ** 2)
    elif opacity.shape == "lobar":
        nx, ny, nz = (np.float32(value) for value in opacity.normal)
        plane = nx * x + ny * y + nz * z
        distance = np.maximum(distance, 1.0 + 1.5 * (plane - 0.35))
    return np.broadcast_to(distance, grid.shape).astype(np.float32)


def _tubes(generator: np.random.Generator, grid: Grid) -> FloatArray:
    """Thin branching lines: where two sheets cross."""
    first = ridges(generator, grid, 26.0, 0.22)
    return first * ridges(generator, grid, 30.0, 0.22)
