"""Ground-glass opacities and consolidations inside the lungs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from covid_bert.errors import ParameterError
from covid_bert.lesions.mask import CONSOLIDATION, GROUND_GLASS
from covid_bert.phantom.anatomy import Anatomy, Point, oblique_fissure
from covid_bert.phantom.fields import RandomField
from covid_bert.phantom.grid import FloatArray, Grid
from covid_bert.phantom.trees import Points, Tubes

# What the names of `make`'s parameter `lesions` stand for.
PATTERNS = {
    "none": "no lesions",
    "covid-like": "ground-glass in both lungs, peripheral, mostly lower and at the back, partly consolidated",
    "ground-glass": "the same without consolidation",
    "lobar-pneumonia": "one lower lobe consolidated, with air bronchograms and a ground-glass border",
}


@dataclass(frozen=True, eq=False)
class Pattern:
    """The random patterns of the outlines and inside the lesions."""

    outline: RandomField
    density: RandomField

    @classmethod
    def draw(cls, generator: np.random.Generator) -> Pattern:
        """Draw lobulated outlines and a finer unevenness of the density."""
        return cls(RandomField.draw(generator, 18.0, 60.0, 32), RandomField.draw(generator, 6.0, 25.0, 64))


@dataclass(frozen=True, eq=False)
class Lesion:
    """One opacity: an irregular ellipsoid with a soft edge.

    Parameters
    ----------
    center, radii
        mm in the phantom's frame.
    side
        -1 right, 1 left: a lesion does not reach into the other lung.
    hounsfield
        Mean HU of its ground-glass part.
    core
        Size of the consolidated core relative to the lesion; 0 without one.
    lower_lobe_only
        Whether the oblique fissure bounds it.
    """

    center: tuple[float, float, float]
    radii: tuple[float, float, float]
    side: float
    hounsfield: float
    core: float
    lower_lobe_only: bool = False


def draw_lesions(anatomy: Anatomy, generator: np.random.Generator, pattern: str, severity: float) -> list[Lesion]:
    """Draw the lesions of a pattern.

    Parameters
    ----------
    anatomy, generator
        The chest, and the source of chance.
    pattern
        A key of `PATTERNS`.
    severity
        In (0, 1]: sets number and size.

    Raises
    ------
    ParameterError
        If the pattern is unknown or `severity` lies outside its range.
    """
    if pattern not in PATTERNS:
        raise ParameterError(f"There is no lesion pattern '{pattern}'.", f"Use one of: {', '.join(PATTERNS)}.")
    if not 0.0 < severity <= 1.0:
        raise ParameterError("The severity of lesions must lie above 0 and not above 1.", "Use 0.5, for example.")
    if pattern == "none":
        return []
    if pattern == "lobar-pneumonia":
        return [_lobar(generator, severity)]
    return _peripheral(anatomy, generator, severity, consolidated=pattern == "covid-like")


def _lobar(generator: np.random.Generator, severity: float) -> Lesion:
    side = float(generator.choice([-1.0, 1.0]))
    size = 0.75 + 0.5 * severity
    center = (side * 78.0, 52.0, -40.0 + generator.uniform(-10, 10))
    radii = (44.0 * size, 42.0 * size, 52.0 * size)
    return Lesion(center, radii, side, -480.0, generator.uniform(0.78, 0.86), lower_lobe_only=True)


def _peripheral(anatomy: Anatomy, generator: np.random.Generator, severity: float, consolidated: bool) -> list[Lesion]:
    points = anatomy.points_in_lungs(generator, 8000, 2.0)
    x, y, z = points.T
    # Near the ribs, at the back and low, as in COVID-19 pneumonia (S. Salehi et al., AJR 2020).
    depths = -anatomy.cavity((x.astype(np.float32), y.astype(np.float32), z.astype(np.float32)))
    weight = np.exp(-(((depths - 12.0) / 6.0) ** 2)) * np.exp(y / 55.0 - z / 85.0)
    count = 2 * round(2 + 7 * severity)
    lesions = []
    for index in range(count):
        side = -1.0 if index % 2 == 0 else 1.0
        chance = weight * (x * side > 0)
        chosen = int(generator.choice(len(points), p=chance / chance.sum()))
        size = generator.uniform(9.0, 15.0) + 13.0 * severity * generator.random()
        radii = size * generator.uniform(0.75, 1.3, size=3)
        core = generator.uniform(0.4, 0.75) if consolidated and generator.random() < 0.45 else 0.0
        # New lesions keep their distance, so that they spread over both lungs.
        weight *= 1.0 - 0.95 * np.exp(-((points - points[chosen]) ** 2).sum(axis=1) / (2 * (1.5 * size) ** 2))
        center = (float(x[chosen]), float(y[chosen]), float(z[chosen]))
        shape = (float(radii[0]), float(radii[1]), float(radii[2]))
        lesions.append(Lesion(center, shape, side, generator.uniform(-640.0, -460.0), core))
    return lesions


def paint_lesions(
    image: FloatArray,
    labels: npt.NDArray[np.uint8],
    lesions: list[Lesion],
    anatomy: Anatomy,
    grid: Grid,
    pattern: Pattern,
) -> None:
    """Paint lesions over the parenchyma and label them.

    Parameters
    ----------
    image
        float32 HU on `grid`, changed in place; without vessels, which are drawn later and so show through.
    labels
        uint8 on `grid`, changed in place: `GROUND_GLASS` or `CONSOLIDATION` where a lesion fills half a voxel or more.
    lesions, anatomy, grid
        What to paint, and where.
    pattern
        What makes the outlines irregular and the ground-glass uneven.
    """
    for lesion in lesions:
        center, reach = np.array([lesion.center]), 1.8 * np.array([lesion.radii])
        lower, upper = grid.enclosing(center - reach, center + reach)
        if not (upper > lower).all():
            continue
        sub = grid.box(tuple(lower[0].tolist()), tuple(upper[0].tolist()))
        box = tuple(slice(a, b) for a, b in zip(lower[0], upper[0], strict=True))
        point = sub.coordinates()
        share, inside = anatomy.lung_coverage(sub, point, anatomy.surfaces(point))
        uneven = pattern.density.on(sub)
        size, edge = _outline(lesion, point, pattern.outline.on(sub) + 0.3 * uneven)
        glass = np.clip((1.0 - size) / 0.45 + 0.5, 0.0, 1.0) * share * edge
        value = lesion.hounsfield + 45.0 * uneven
        painted = image[box] + glass * (value - image[box])
        core = np.zeros_like(glass)
        if lesion.core > 0:
            core = np.clip((lesion.core - size) / 0.18 + 0.5, 0.0, 1.0) * share * edge
            painted += core * (28.0 + 10.0 * uneven - painted)
        image[box] = np.where(glass > 0, np.maximum(image[box], painted), image[box])
        found = np.where(core >= 0.5, CONSOLIDATION, np.where(glass >= 0.5, GROUND_GLASS, 0))
        labels[box] = np.maximum(labels[box], (found * inside).astype(np.uint8))


def air_bronchograms(lesions: list[Lesion], airways: Tubes, generator: np.random.Generator) -> Tubes | None:
    """Return small bronchi that run from the nearest drawn airway into each consolidation, or None."""
    parts = []
    for lesion in lesions:
        if lesion.core == 0:
            continue
        center, radii = np.array(lesion.center), np.array(lesion.radii)
        own = airways.ends[airways.ends[:, 0] * lesion.side > 0]
        source: Points = own[np.argmin(np.linalg.norm(own - center, axis=1))]
        for _ in range(1 + round(float(radii.mean()) / 14)):
            tip = center + 0.7 * lesion.core * radii * generator.uniform(-1, 1, 3)
            bend = (source + center) / 2 + generator.normal(0, 2, 3)
            parts.append(Tubes.along(np.stack([source, bend, tip]), np.array([1.6, 1.4, 1.1])))
    return Tubes.join(parts) if parts else None


def _outline(lesion: Lesion, point: Point, irregular: FloatArray) -> tuple[FloatArray, FloatArray]:
    x, y, z = (
        (value - np.float32(center)) / np.float32(radius)
        for value, center, radius in zip(point, lesion.center, lesion.radii, strict=True)
    )
    size = np.sqrt(x * x + y * y + z * z) + 0.22 * irregular
    allowed = (point[0] * lesion.side > 0).astype(np.float32)
    if lesion.lower_lobe_only:
        allowed = allowed * np.clip(0.5 - oblique_fissure(point) / 1.5, 0.0, 1.0)
    return size, allowed
