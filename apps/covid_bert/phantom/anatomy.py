"""The shape of the chest as signed distances: body, thoracic cavity, mediastinum, diaphragm and lungs.

All lengths are in mm in the phantom's frame: x to the patient's left, y to the back, z to the head, the origin in the
middle of the chest. A distance is negative inside and only near its surface close to the true distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from covid_bert.phantom.grid import (
    FloatArray,
    Grid,
    coverage,
    ellipsoid,
    smooth_maximum,
    smooth_minimum,
)

Point = tuple[FloatArray, FloatArray, FloatArray]

LATERAL = (0.7071, 0.7071, 0.0)
VERTICAL = (0.0, 0.0, 1.0)
CAVITY_CENTER_Y = -2.0
CAVITY_SHOULDER = -40.0
CAVITY_TOP = 130.0


@dataclass(frozen=True, eq=False)
class Surfaces:
    """Distances from the surfaces inside the chest, computed once for each set of points.

    Parameters
    ----------
    cavity
        Inner surface of the rib cage, open below.
    heart
        Pericardium.
    mediastinum
        Everything between the lungs: heart, great vessels, hila and spine.
    diaphragm
        Positive above the diaphragm.
    """

    cavity: FloatArray
    heart: FloatArray
    mediastinum: FloatArray
    diaphragm: FloatArray


@dataclass(frozen=True)
class Anatomy:
    """One person's measures, in mm unless stated."""

    scale: float
    half_width: float
    half_depth: float
    fat: float
    breasts: bool
    heart: float
    right_dome: float
    left_dome: float
    apex: float
    rib_phase: float
    rib_distance: float
    trachea_radius: float
    aorta_radius: float
    lung_hounsfield: float

    @classmethod
    def draw(cls, generator: np.random.Generator) -> Anatomy:
        """Draw an adult of ordinary measures."""
        right_dome = generator.uniform(-66, -54)
        return cls(
            scale=generator.uniform(0.94, 1.0),
            half_width=generator.uniform(122, 130),
            half_depth=generator.uniform(84, 91),
            fat=generator.uniform(6, 14),
            breasts=bool(generator.random() < 0.5),
            heart=generator.uniform(0.92, 1.06),
            right_dome=right_dome,
            left_dome=right_dome - generator.uniform(9, 16),
            apex=generator.uniform(112, 120),
            rib_phase=generator.uniform(0, 24),
            rib_distance=generator.uniform(22.5, 25),
            trachea_radius=generator.uniform(8, 9.5),
            aorta_radius=generator.uniform(11.5, 14),
            lung_hounsfield=generator.uniform(-885, -850),
        )

    def frame(self, grid: Grid) -> Grid:
        """Return the grid as it lies in the person's own frame, in which all measures above are given."""
        affine = grid.affine.copy()
        affine[:3] /= self.scale
        return Grid(grid.shape, affine)

    def spine_y(self, z: FloatArray) -> FloatArray:
        """Return where the middle of the vertebral bodies lies: a slight kyphosis."""
        return 60.0 - np.float32(0.0007) * (z - 10.0) ** 2

    def cavity_narrowing(self, z: FloatArray) -> FloatArray:
        """Return the width of the thoracic cavity relative to its greatest, in [0, 1]."""
        height = np.clip((z - CAVITY_SHOULDER) / (CAVITY_TOP - CAVITY_SHOULDER), 0.0, 1.0)
        return (1.0 - height**3) ** np.float32(0.6)

    def cavity(self, point: Point) -> FloatArray:
        """Return the distance from the inner surface of the rib cage, open below."""
        x, y, z = point
        depth = y - CAVITY_CENTER_Y
        return _radial_distance(x, depth, self.half_width, self.half_depth, self.cavity_narrowing(z), 1.25)

    def body(self, point: Point) -> FloatArray:
        """Return the distance from the skin."""
        x, y, z = point
        shoulders = 1.0 / (1.0 + np.exp(-(z - 98.0) / 9.0))
        width = self.half_width + 16.0 + self.fat + 26.0 * shoulders
        depth = self.half_depth + 17.0 + 0.8 * self.fat - 26.0 * shoulders
        back = y - 4.0 - 10.0 * shoulders
        distance = _radial_distance(x, back, width, depth, np.float32(1.0), 1.1)
        furrow = 5.0 * np.exp(-((x / 14.0) ** 2)) * np.clip(y / 60.0, 0.0, 1.0)
        distance = distance + furrow
        if self.breasts:
            front = CAVITY_CENTER_Y - self.half_depth - 10.0
            breast = ellipsoid((np.abs(x), y, z), (74.0, front + 4.0, -14.0), (58.0, 32.0, 54.0))
            distance = smooth_minimum(distance, breast, 12.0)
        return distance

    def heart_surface(self, point: Point) -> FloatArray:
        """Return the distance from the pericardium."""
        x, y, z = point
        # The long axis points to the left, to the front and down.
        right, front, up = x - 19.0, y + 24.0, z + 52.0
        along = 0.80 * right - 0.42 * front - 0.42 * up
        across = 0.46 * right + 0.89 * front
        upward = 0.38 * right - 0.19 * front + 0.91 * up
        size = self.heart
        return ellipsoid((along, across, upward), (0.0, 0.0, 0.0), (64 * size, 45 * size, 52 * size))

    def mediastinum(self, point: Point, heart: FloatArray) -> FloatArray:
        """Return the distance from everything between the lungs, given the one from the pericardium."""
        x, y, z = point
        width = 6.5 + 20.0 * np.exp(-(((y - 8.0) / 40.0) ** 2)) + 12.0 * np.clip((z - 72.0) / 40.0, 0.0, 1.0)
        distance = np.abs(x + 1.5) - width
        distance = smooth_minimum(distance, heart, 10.0)
        spine = np.hypot(x / 24.0, (y - self.spine_y(z) - 4.0) / 29.0)
        distance = smooth_minimum(distance, (spine - 1.0) * np.float32(24.0), 8.0)
        aorta = np.hypot(x - 23.0, y - 38.0) - (self.aorta_radius + 2.5)
        aorta = smooth_maximum(aorta, z - 50.0, 20.0)
        distance = smooth_minimum(distance, aorta, 8.0)
        hilum = ellipsoid((np.abs(x), y, z), (31.0, 12.0, 4.0), (15.0, 15.0, 24.0))
        return smooth_minimum(distance, hilum, 8.0)

    def diaphragm(self, point: Point) -> FloatArray:
        """Return the height z of the diaphragm above each (x, y)."""
        x, y, _ = point
        right = self.right_dome - 0.0095 * (x + 66.0) ** 2 - 0.0070 * (y + 14.0) ** 2
        left = self.left_dome - 0.0100 * (x - 66.0) ** 2 - 0.0068 * (y + 10.0) ** 2
        middle = self.left_dome - 12.0 - 0.004 * x**2 - 0.006 * (y + 20.0) ** 2
        return smooth_maximum(smooth_maximum(right, left, 14.0), middle, 14.0)

    def surfaces(self, point: Point) -> Surfaces:
        """Return the distances from all surfaces inside the chest."""
        heart = self.heart_surface(point)
        above = (point[2] - self.diaphragm(point)) * np.float32(0.75)
        return Surfaces(self.cavity(point), heart, self.mediastinum(point, heart), above)

    def lung(self, point: Point, surfaces: Surfaces) -> tuple[FloatArray, FloatArray]:
        """Return the distances from the lungs' pleura: sides and apices, and the base on the diaphragm.

        A point lies in a lung if both are negative; it is the right lung where x < 0.
        """
        x, y, z = point
        around = smooth_maximum(surfaces.cavity + 2.5, 1.5 - surfaces.mediastinum, 9.0)
        radius_squared = 0.0095 * (np.abs(x) - 47.0) ** 2 + 0.0065 * (y - 8.0) ** 2
        apex = (z - self.apex + radius_squared) * np.float32(0.75)
        return smooth_maximum(around, apex, 12.0), 1.5 - surfaces.diaphragm

    def lung_depth(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        """Return how deep (n, 3) points lie below the pleura in mm; negative outside the lungs."""
        x, y, z = points.T.astype(np.float32)
        around, base = self.lung((x, y, z), self.surfaces((x, y, z)))
        return -np.maximum(around, base)

    def lung_coverage(self, grid: Grid, point: Point, surfaces: Surfaces) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Return each voxel's share of lung in [0, 1], and whether its centre lies in a lung."""
        around, base = self.lung(point, surfaces)
        share = coverage(around, grid.edge_width(LATERAL)) * coverage(base, 0.75 * grid.edge_width(VERTICAL))
        return share, (around < 0) & (base < 0)

    def points_in_lungs(self, generator: np.random.Generator, count: int, depth: float) -> npt.NDArray[np.float64]:
        """Draw points evenly from both lungs, at least `depth` mm from the pleura.

        Returns
        -------
        numpy.ndarray
            (n, 3), x, y and z in mm; n is about a third of `count`.
        """
        corners = np.array([[-135, -95, -140], [135, 95, 125]])
        points = generator.uniform(corners[0], corners[1], size=(count, 3))
        return points[self.lung_depth(points) > depth]


def oblique_fissure(point: Point) -> FloatArray:
    """Return the distance from the oblique fissure of both lungs; negative in the lower lobes."""
    _, y, z = point
    return (z - 0.95 * y + 12.0) * np.float32(0.72)


def _radial_distance(
    x: FloatArray,
    y: FloatArray,
    half_width: float | FloatArray,
    half_depth: float | FloatArray,
    relative_size: FloatArray | np.float32,
    roundness: float,
) -> FloatArray:
    # x^4 + c x^2 y^2 + y^4 = r^4 is a circle for c = 2 and becomes squarer as c falls: a chest's outline without
    # the cost of a general power.
    across, deep = (x / half_width) ** 2, (y / half_depth) ** 2
    radius = np.sqrt(np.sqrt(across * across + deep * deep + roundness * (across * deep))) + 1e-6
    return np.hypot(x, y) * (1.0 - relative_size / radius)
