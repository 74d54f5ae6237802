"""Hounsfield units of everything but the vessels, airways and lesions, painted from the outside inwards."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from covid_bert.phantom.anatomy import (
    CAVITY_CENTER_Y,
    LATERAL,
    VERTICAL,
    Anatomy,
    Point,
    Surfaces,
    oblique_fissure,
)
from covid_bert.phantom.fields import RandomField
from covid_bert.phantom.grid import FloatArray, Grid, coverage, ellipsoid

AIR = -1000.0
FAT = -100.0
MUSCLE = 55.0
SKIN = 30.0
MARROW = 190.0
CORTEX = 800.0
CARTILAGE = 115.0
BLOOD = 42.0
LIVER = 58.0
SPLEEN = 50.0
VERTEBRA_HEIGHT = 24.0


@dataclass(frozen=True, eq=False)
class Texture:
    """The random patterns inside tissues."""

    coarse: RandomField
    fine: RandomField
    parenchyma: RandomField

    @classmethod
    def draw(cls, generator: np.random.Generator) -> Texture:
        """Draw patterns of the sizes seen in fat and muscle (coarse, fine) and in lung parenchyma."""
        return cls(
            RandomField.draw(generator, 35.0, 110.0, 24),
            RandomField.draw(generator, 9.0, 28.0, 48),
            RandomField.draw(generator, 5.0, 24.0, 64),
        )


class _Painter:
    """An image under construction: each tissue covers what was painted before it."""

    def __init__(self, grid: Grid) -> None:
        self.image = np.full(grid.shape, AIR, dtype=np.float32)
        self.lateral_edge = grid.edge_width(LATERAL)
        self.vertical_edge = grid.edge_width(VERTICAL)

    def cover(self, distance: FloatArray, value: float | FloatArray, edge: float | None = None) -> None:
        self.blend(coverage(distance, edge or self.lateral_edge), value)

    def blend(self, share: FloatArray, value: float | FloatArray) -> None:
        self.image += share * (value - self.image)


def paint(anatomy: Anatomy, texture: Texture, grid: Grid) -> tuple[FloatArray, npt.NDArray[np.uint8], FloatArray]:
    """Return the chest without vessels, airways and lesions.

    Returns
    -------
    hounsfield
        float32 (slices, rows, columns), HU without noise.
    lungs
        uint8, 1 right and 2 left lung.
    body
        float32, share of each voxel inside the skin.
    """
    point = grid.coordinates()
    coarse, fine = texture.coarse.on(grid), texture.fine.on(grid)
    painter = _Painter(grid)
    _table(painter, point)
    surfaces = anatomy.surfaces(point)
    body = _chest_wall(painter, anatomy, point, surfaces.cavity, coarse, fine)
    _inside_of_cavity(painter, point, surfaces, coarse, fine)
    _rib_cage(painter, anatomy, point, surfaces.cavity, fine)
    _spine(painter, anatomy, point, fine)
    share, inside = anatomy.lung_coverage(grid, point, surfaces)
    painter.blend(share, _parenchyma(anatomy, texture, point, grid))
    side = np.where(point[0] < 0, 1, 2).astype(np.uint8)
    return painter.image, inside * side, body


def _table(painter: _Painter, point: Point) -> None:
    x, y, _ = point
    height = y - 128.0 + 0.0011 * x**2
    width = np.abs(x) - 205.0
    painter.cover(np.maximum(np.maximum(-height, height - 26.0), width), -965.0)
    for surface, thickness, value in ((0.0, 2.5, -250.0), (26.0, 3.0, 60.0)):
        painter.cover(np.maximum(np.abs(height - surface) - thickness / 2, width), value)


def _chest_wall(
    painter: _Painter,
    anatomy: Anatomy,
    point: Point,
    cavity: FloatArray,
    coarse: FloatArray,
    fine: FloatArray,
) -> FloatArray:
    x, y, z = point
    skin = anatomy.body(point)
    body = coverage(skin, painter.lateral_edge)
    painter.blend(body, SKIN)
    painter.cover(skin + 2.2, FAT + 7.0 * fine)
    # Muscle lies under the subcutaneous fat; planes of fat run through it, the more so in the shoulders.
    muscle = np.maximum(skin + 2.0 + anatomy.fat * (1.0 + 0.25 * coarse), 0.6 * (np.abs(x) - 150.0))
    shoulder = np.clip((z - 85.0) / 25.0, 0.0, 1.0)
    plane = np.abs(coarse + 0.22 * fine) - 0.03 - 0.06 * shoulder
    painter.cover(muscle, MUSCLE + 6.0 * fine)
    between = coverage(muscle + 2.0, painter.lateral_edge) * np.clip(0.9 - plane / 0.12, 0.0, 1.0)
    painter.blend(between * np.clip((cavity - 10.0) / 6.0, 0.0, 0.85), FAT)
    # The long muscles of the back fill the furrow beside the spine.
    back = np.hypot((np.abs(x) - 26.0) / 24.0, (y - 91.0) / 16.0) - 1.0
    painter.cover(np.maximum(back * 16.0, skin + 0.6 * anatomy.fat), MUSCLE + 6.0 * fine)
    return body


def _inside_of_cavity(
    painter: _Painter, point: Point, surfaces: Surfaces, coarse: FloatArray, fine: FloatArray
) -> None:
    y = point[1]
    cavity, heart = surfaces.cavity, surfaces.heart
    painter.cover(np.maximum(cavity + 2.5, surfaces.mediastinum - 6.0), FAT + 10.0 * fine)
    painter.cover(np.maximum(heart, cavity + 2.0), MUSCLE - 10.0)
    # Fat under the pericardium is thick in the grooves and absent over most of the ventricles.
    painter.cover(np.maximum(heart + 1.8, cavity + 3.0), FAT + 12.0 * fine)
    epicardium = heart + 2.6 + 4.5 * np.maximum(coarse + 0.4 * fine, 0.0)
    painter.cover(np.maximum(epicardium, cavity + 4.0), BLOOD + 3.0 * fine)
    below = np.maximum(surfaces.diaphragm, cavity)
    edge = 0.75 * painter.vertical_edge
    painter.cover(below, MUSCLE, edge)
    painter.cover(below + 2.5, FAT + 10.0 * fine, edge)
    organs = below + 3.5
    # The stomach lies in front of the spleen; in the supine patient its gas rises to the front, above a level.
    stomach = np.maximum(organs, ellipsoid(point, (52.0, -30.0, -122.0), (38.0, 44.0, 42.0)))
    painter.cover(stomach, MUSCLE, edge)
    painter.cover(stomach + 3.5, 25.0 + 9.0 * fine, edge)
    painter.cover(np.maximum(stomach + 3.5, y + 38.0), AIR + 20.0, edge)
    spleen = np.maximum(organs, ellipsoid(point, (84.0, 40.0, -128.0), (30.0, 40.0, 44.0)))
    painter.cover(spleen, SPLEEN + 2.0 * fine, edge)
    right_lobe = ellipsoid(point, (-58.0, 0.0, -140.0), (80.0, 92.0, 95.0))
    left_lobe = ellipsoid(point, (-4.0, -48.0, -122.0), (52.0, 34.0, 38.0))
    painter.cover(np.maximum(organs, np.minimum(right_lobe, left_lobe)), LIVER + 2.5 * fine, edge)
    for center, radii in (
        ((68.0, -48.0, -172.0), (34.0, 20.0, 15.0)),
        ((8.0, -62.0, -178.0), (46.0, 15.0, 14.0)),
    ):
        bowel = np.maximum(organs, ellipsoid(point, center, radii) + 1.5 * fine)
        painter.cover(bowel, MUSCLE - 20.0)
        painter.cover(bowel + 3.0, AIR + 60.0)


def _rib_cage(painter: _Painter, anatomy: Anatomy, point: Point, cavity: FloatArray, fine: FloatArray) -> None:
    x, y, z = point
    # Ribs are bands around the cavity in parallel planes that fall from the back to the front.
    level = z - 0.48 * y + anatomy.rib_phase
    spacing = np.float32(anatomy.rib_distance)
    offset = np.abs(level - spacing * np.round(level / spacing))
    rib = (np.hypot((cavity - 7.0) / 3.6, offset / 6.6) - 1.0) * np.float32(4.2)
    ends = np.maximum(level - 106.0, np.maximum(18.0 - np.abs(x), y - 96.0))
    rib = np.maximum(rib, ends)
    bone = np.clip((y + 58.0 + 0.25 * (60.0 - np.abs(x))) / 8.0, 0.0, 1.0)
    painter.cover(rib, CARTILAGE + bone * (CORTEX - CARTILAGE))
    painter.cover(rib + 1.5, CARTILAGE - 25.0 + bone * (MARROW + 30.0 * fine - CARTILAGE + 25.0))

    front = CAVITY_CENTER_Y - anatomy.half_depth * anatomy.cavity_narrowing(z) - 7.0
    half_width = 14.0 + 12.0 * np.clip((z - 45.0) / 30.0, 0.0, 1.0)
    sternum = (((x / half_width) ** 4 + ((y - front) / 6.0) ** 4) ** np.float32(0.25) - 1.0) * np.float32(6.0)
    sternum = np.maximum(sternum, np.abs(z - 20.0) - 62.0)
    painter.cover(sternum, 0.6 * CORTEX)
    painter.cover(sternum + 1.6, 0.7 * MARROW + 20.0 * fine)

    for side in (-1.0, 1.0):
        across = 0.80 * (side * x - 88.0) - 0.60 * (y - 72.0)
        through = 0.60 * (side * x - 88.0) + 0.80 * (y - 72.0)
        scapula = ellipsoid((across, through, z), (0.0, 0.0, 62.0), (42.0, 4.5, 58.0))
        scapula = np.maximum(scapula, 9.0 - cavity)
        painter.cover(scapula, 0.85 * CORTEX)
        painter.cover(scapula + 1.7, MARROW)


def _spine(painter: _Painter, anatomy: Anatomy, point: Point, fine: FloatArray) -> None:
    x, y, z = point
    back = y - anatomy.spine_y(z)
    height = np.abs(z - VERTEBRA_HEIGHT * np.round(z / VERTEBRA_HEIGHT))
    column = (np.hypot(x / 18.0, back / 15.5) - 1.0) * np.float32(16.0)
    disc = column - 0.5
    painter.cover(disc, 85.0)
    body = np.maximum(column + 0.10 * (12.0 - height), height - 9.2)
    painter.cover(body, 0.62 * CORTEX)
    painter.cover(body + 1.5, MARROW + 25.0 * fine)
    # Pedicles, laminae and processes form one arch around the canal, joined to the ribs.
    arch = (np.hypot(x / 15.0, (back - 23.0) / 13.0) - 1.0) * np.float32(13.0)
    arch = np.maximum(arch, height - 9.5)
    transverse = np.maximum(np.abs(back - 27.0 - 0.25 * np.abs(x)) - 5.0, np.maximum(np.abs(x) - 33.0, height - 6.0))
    spinous = np.maximum(np.abs(x) - 3.2, np.maximum(np.abs(back - 40.0) - 14.0, height - 7.0))
    bone = np.minimum(np.minimum(arch, transverse), spinous)
    painter.cover(bone, 0.75 * CORTEX)
    painter.cover(bone + 2.0, 1.3 * MARROW)
    canal = (np.hypot(x / 9.0, (back - 23.5) / 8.0) - 1.0) * np.float32(8.0)
    painter.cover(canal, 25.0)


def _parenchyma(anatomy: Anatomy, texture: Texture, point: Point, grid: Grid) -> FloatArray:
    _, y, z = point
    # Supine, the back of the lung is denser by its own weight, and the bases a little more than the apices.
    gravity = 38.0 * np.clip((y + 60.0) / 140.0, 0.0, 1.0) ** 2 - 10.0 * np.clip(z / 120.0, -1.0, 1.0)
    fissure = np.abs(oblique_fissure(point)) - 0.4
    value = anatomy.lung_hounsfield + gravity + 9.0 * texture.parenchyma.on(grid)
    return value + 70.0 * coverage(fissure, grid.edge_width((0.0, 0.69, 0.72)))
