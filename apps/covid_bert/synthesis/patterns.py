"""Which lesions a study gets: the patterns that the generator draws.

``covid-like`` follows what is described of COVID-19 pneumonia on CT: ground-glass in both lungs, peripheral, mostly in
the lower and posterior parts, with crazy paving and growing consolidation (S. Salehi et al., AJR 215:87-93, 2020;
M. Chung et al., Radiology 295:202-207, 2020). ``bacterial-like``: one lobe or a few segments, central or lobar,
consolidated with air bronchograms, with small centrilobular opacities around. ``bronchopneumonia``: groups of small
centrilobular nodules along the airways (tree-in-bud), with patches of consolidation where they meet (T. Franquet,
Eur Respir J 18:196-208, 2001). ``consolidation``: airless lung against
the chest wall, as either disease leaves it; it teaches the segmenters, and stands for no class. Densities are drawn
from the ranges in ``lesion_statistics.json``, which was measured on real lesion masks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from covid_bert.errors import ParameterError
from covid_bert.synthesis.opacities import Opacity
from covid_bert.synthesis.space import LungSpace

Generator = np.random.Generator
FloatVector = npt.NDArray[np.float64]
# Chance of a place by its depth in mm, height (0 foot) and depth from the front (0 front).
Weight = Callable[[FloatVector, FloatVector, FloatVector], FloatVector]


def draw_opacities(pattern: str, space: LungSpace, generator: Generator, severity: float) -> list[Opacity]:
    """Draw the opacities of a study.

    Parameters
    ----------
    pattern
        A key of `PATTERNS`.
    space
        The lungs.
    generator
        The source of chance.
    severity
        In (0, 1]: number and size of the lesions.

    Raises
    ------
    ParameterError
        If the pattern is unknown or `severity` lies outside its range.
    """
    if pattern not in PATTERNS:
        raise ParameterError(f"There is no lesion pattern '{pattern}'.", f"Use one of: {', '.join(PATTERNS)}.")
    if not 0.0 < severity <= 1.0:
        raise ParameterError("The severity of lesions must lie above 0 and not above 1.", "Use 0.5, for example.")
    return PATTERNS[pattern](space, generator, severity)


def _none(_space: LungSpace, _generator: Generator, _severity: float) -> list[Opacity]:
    return []


def _covid_like(space: LungSpace, generator: Generator, severity: float) -> list[Opacity]:
    stage = generator.random()
    count = int(np.ceil(generator.uniform(1.5, 4.0) + severity * generator.uniform(4.0, 16.0)))
    sides = space.sides()
    # Now and then one lung is spared, or nearly.
    balance = generator.choice([0.5, 0.5, 0.5, 0.2, 0.8, 0.0, 1.0])
    density = _densities(generator)
    opacities = []
    for _ in range(count):
        side = sides[int(generator.random() < balance) % len(sides)]
        shape = generator.choice(["patch", "patch", "band"])
        size = generator.uniform(6.0, 14.0) + generator.random() ** 1.5 * 30.0 * severity
        radii = size * generator.uniform(0.7, 1.4, 3)
        if shape == "band":
            radii = np.maximum(radii * generator.uniform(1.0, 1.8), 14.0)
        center = _place(space, side, generator, lambda d, h, b: np.exp(-d / 12.0) * np.exp(1.3 * b - 1.6 * h))
        consolidated = generator.random() < 0.15 + 0.6 * stage
        opacities.append(
            _opacity(
                generator,
                center,
                side,
                radii,
                str(shape),
                density(),
                core=generator.uniform(0.3, 0.95) if consolidated else 0.0,
                septa=generator.uniform(0.1, 0.3) if generator.random() < 0.35 else 0.0,
            )
        )
    if generator.random() < 0.25 * severity + 0.05:
        opacities.append(_diffuse(space, generator, int(generator.choice(sides)), density(), severity))
    if severity > 0.6 and generator.random() < 0.35:
        # Severe disease leaves little of both lungs free.
        for side in sides:
            for _ in range(int(generator.integers(1, 4))):
                opacities.append(_diffuse(space, generator, side, density(), 1.6 * severity))
    return opacities


def _bacterial_like(space: LungSpace, generator: Generator, severity: float) -> list[Opacity]:
    sides = space.sides()
    first = int(generator.choice(sides))
    opacities = []
    for number in range(1 + int(generator.random() < 0.5 * severity)):
        side = first if number == 0 or generator.random() < 0.6 else int(generator.choice(sides))
        center = _place(space, side, generator, _lobar_weight(generator.uniform(-2.5, 1.5)))
        size = generator.uniform(16.0, 26.0) + 32.0 * severity * generator.random()
        opacities.append(
            _opacity(
                generator,
                center,
                side,
                size * generator.uniform(0.8, 1.3, 3),
                "lobar",
                generator.uniform(0.3, 0.6),
                core=generator.uniform(0.6, 1.1),
                bronchograms=generator.random() < 0.75,
            )
        )
        for _ in range(int(generator.integers(0, 14))):
            near = np.array(center) + generator.normal(0.0, 1.0, 3) * size * 1.1
            radii = generator.uniform(2.5, 7.0) * generator.uniform(0.8, 1.2, 3)
            opacities.append(
                _opacity(
                    generator,
                    (float(near[0]), float(near[1]), float(near[2])),
                    side,
                    radii,
                    "patch",
                    generator.uniform(0.3, 0.7),
                    core=generator.choice([0.0, 0.7]),
                )
            )
    return opacities


def _bronchopneumonia(space: LungSpace, generator: Generator, severity: float) -> list[Opacity]:
    sides = space.sides()
    height = generator.uniform(-2.5, 1.0)
    opacities = []
    for _ in range(int(np.ceil(generator.uniform(1.0, 3.0) + 12.0 * severity * generator.random()))):
        side = int(generator.choice(sides))
        center = _place(space, side, generator, lambda d, h, b: np.exp(height * h + 0.5 * b) * (d > 3.0) + 1e-9)
        spread = generator.uniform(6.0, 20.0)
        for _ in range(int(generator.integers(10, 40))):
            near = np.array(center) + generator.normal(0.0, spread, 3)
            bud = _opacity(
                generator,
                (float(near[0]), float(near[1]), float(near[2])),
                side,
                generator.choice([generator.uniform(1.6, 4.2), generator.uniform(4.0, 7.0)], p=[0.85, 0.15])
                * generator.uniform(0.8, 1.3, 3),
                "patch",
                generator.uniform(0.4, 0.75),
                core=generator.choice([0.0, 0.8]),
            )
            opacities.append(replace(bud, edge=float(generator.uniform(0.8, 2.5))))
        if generator.random() < 0.5:
            opacities.append(
                _opacity(
                    generator,
                    center,
                    side,
                    generator.uniform(5.0, 10.0 + 14.0 * severity) * generator.uniform(0.7, 1.4, 3),
                    "patch",
                    generator.uniform(0.35, 0.65),
                    core=generator.uniform(0.5, 1.0),
                    bronchograms=generator.random() < 0.6,
                )
            )
    return opacities


def _consolidation(space: LungSpace, generator: Generator, severity: float) -> list[Opacity]:
    """Consolidations that reach the chest wall, as dense as muscle, most of them among ground-glass elsewhere."""
    opacities = _covid_like(space, generator, severity) if generator.random() < 0.7 else []
    for _ in range(int(generator.integers(1, 4))):
        side = int(generator.choice(space.sides()))
        center = _place(space, side, generator, lambda d, h, b: np.exp(-d / 5.0 + 2.0 * b - 0.8 * h))
        radii = generator.uniform(10.0, 32.0) * generator.uniform(0.7, 1.5, 3)
        drawn = _opacity(
            generator,
            center,
            side,
            radii,
            "patch",
            generator.uniform(0.4, 0.7),
            core=generator.uniform(0.8, 1.1),
            bronchograms=generator.random() < 0.35,
        )
        opacities.append(
            replace(
                drawn,
                core_fill=float(generator.uniform(0.88, 1.0)),
                filling=float(generator.uniform(0.0, 70.0)),
                edge=float(generator.uniform(1.0, 4.0)),
                unevenness=float(generator.uniform(0.03, 0.15)),
            )
        )
    return opacities


def _lobar_weight(low: float) -> Weight:
    """Deep in the lung, and as low or as high as `low` says."""
    return lambda d, h, b: np.exp(low * h + 0.5 * b + d / 40.0)


def _diffuse(space: LungSpace, generator: Generator, side: int, fill: float, severity: float) -> Opacity:
    center = _place(space, side, generator, lambda _depth, h, b: np.exp(b - 1.5 * h))
    radii = generator.uniform(35.0, 60.0) * (0.6 + 0.6 * severity) * generator.uniform(0.8, 1.2, 3)
    core = generator.uniform(0.2, 0.8) if generator.random() < 0.4 * severity else 0.0
    septa = generator.choice([0.0, 0.2, 0.3])
    return _opacity(generator, center, side, radii, "patch", 0.85 * fill, core=core, septa=septa)


def _opacity(
    generator: Generator,
    center: tuple[float, float, float],
    side: int,
    radii: FloatVector,
    shape: str,
    fill: float,
    *,
    core: float = 0.0,
    septa: float = 0.0,
    bronchograms: bool = False,
) -> Opacity:
    normal = np.array([generator.normal(0, 0.3), generator.normal(0, 1.0), generator.normal(0, 1.0)])
    normal /= np.linalg.norm(normal)
    return Opacity(
        center=center,
        side=side,
        radii=(float(radii[0]), float(radii[1]), float(radii[2])),
        shape=shape,
        fill=float(np.clip(fill, 0.1, 0.75)),
        core=float(core),
        core_fill=float(generator.uniform(0.6, 1.0)),
        filling=float(generator.uniform(15.0, 70.0)),
        edge=float(generator.uniform(1.0, 7.0)),
        irregularity=float(generator.uniform(0.15, 0.55)),
        unevenness=float(generator.uniform(0.05, 0.3)),
        septa=float(septa),
        bronchograms=bool(bronchograms or (core > 0 and generator.random() < 0.3)),
        normal=(float(normal[0]), float(normal[1]), float(normal[2])),
        seed=int(generator.integers(2**31)),
    )


def _densities(generator: Generator) -> Callable[[], float]:
    """Fills of one patient's ground-glass: they resemble each other more than those of two patients."""
    typical = generator.uniform(0.2, 0.55)
    return lambda: float(typical + generator.normal(0.0, 0.08))


def _place(
    space: LungSpace,
    side: int,
    generator: Generator,
    weight: Weight,
) -> tuple[float, float, float]:
    """Draw a voxel of one lung and return its place in mm."""
    voxels = space.voxels(side, generator, 1500)
    height, back = space.shares(voxels)
    depth = space.depth[tuple(voxels.T)].astype(np.float64)
    chance = weight(depth, height, back)
    chosen = voxels[generator.choice(len(voxels), p=chance / chance.sum())]
    point = space.grid.affine @ np.array([chosen[2], chosen[1], chosen[0], 1.0])
    return float(point[0]), float(point[1]), float(point[2])


PATTERNS: dict[str, Callable[[LungSpace, Generator, float], list[Opacity]]] = {
    "none": _none,
    "covid-like": _covid_like,
    "bacterial-like": _bacterial_like,
    "bronchopneumonia": _bronchopneumonia,
    "consolidation": _consolidation,
}
