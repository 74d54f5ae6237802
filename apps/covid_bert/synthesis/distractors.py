"""What a chest holds that is neither ground-glass nor consolidation of pneumonia; the scanner adds `scanner`.

The networks meet these on studies with and without lesions alike, so that none of them can stand for a class.
"""

from __future__ import annotations

from dataclasses import dataclass

import edt
import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from covid_bert.phantom.grid import FloatArray
from covid_bert.synthesis.fields import texture
from covid_bert.synthesis.space import LungSpace

Box = tuple[slice, slice, slice]

# Voxels that no network is to learn from: a mass is neither pneumonia nor healthy lung, an effusion neither lung nor
# chest wall.
IGNORE = 255
FLUID_HOUNSFIELD = 12.0


@dataclass(eq=False)
class Canvas:
    """What is being changed: HU, labels and lungs of the box around the lungs.

    Parameters
    ----------
    image
        float32 HU.
    labels
        uint8: lesions, and `IGNORE`.
    space
        The lungs.
    lungs
        uint8, changed where fluid takes the place of lung.
    parenchyma
        HU of healthy lung.
    """

    image: FloatArray
    labels: npt.NDArray[np.uint8]
    space: LungSpace
    lungs: npt.NDArray[np.uint8]
    parenchyma: float

    def fill(self, share: FloatArray, filling: float) -> None:
        """Replace a share of the air of each voxel."""
        self.image += share * np.maximum(np.float32(filling) - self.image, 0.0)


def dependent_density(canvas: Canvas, generator: np.random.Generator) -> None:
    """Make the lung denser towards the back, as blood and lack of breath do in a patient who lies."""
    _, y, _ = canvas.space.grid.coordinates()
    inside = canvas.lungs > 0
    back = float(y.max()) - generator.uniform(2.0, 10.0)
    gradient = np.exp(-np.maximum(back - y, 0.0) / np.float32(generator.uniform(6.0, 30.0)))
    canvas.fill(np.float32(generator.uniform(0.03, 0.16)) * gradient * inside, 20.0)


def poor_breath(canvas: Canvas, generator: np.random.Generator) -> None:
    """Make the whole lung denser, as in a patient who did not breathe in."""
    uneven = 1.0 + 0.25 * texture(generator, canvas.space.grid, 25.0, 90.0, 24)
    canvas.fill(np.float32(generator.uniform(0.02, 0.14)) * uneven.clip(0) * (canvas.lungs > 0), 20.0)


def emphysema(canvas: Canvas, generator: np.random.Generator) -> None:
    """Hollow out spots of the parenchyma."""
    spots = texture(generator, canvas.space.grid, 5.0, 16.0, 64)
    share = np.clip(spots - np.float32(generator.uniform(0.3, 1.5)), 0.0, 1.0) * np.float32(generator.uniform(0.4, 0.9))
    hollow = (canvas.lungs > 0) & (canvas.image < canvas.parenchyma + 150.0)
    canvas.image += share * hollow * (np.float32(-990.0) - canvas.image)


def nodules(canvas: Canvas, generator: np.random.Generator) -> None:
    """Add solid nodules of 3 to 10 mm."""
    for _ in range(int(generator.integers(1, 7))):
        _ball(canvas, generator, generator.uniform(1.5, 5.0), label=0)


def mass(canvas: Canvas, generator: np.random.Generator) -> None:
    """Add one mass of 2 to 5 cm; it is left out of training."""
    _ball(canvas, generator, generator.uniform(10.0, 25.0), label=IGNORE)


def plate_atelectasis(canvas: Canvas, generator: np.random.Generator) -> None:
    """Add thin plates of collapsed lung low in the lungs."""
    x, y, z = canvas.space.grid.coordinates()
    for _ in range(int(generator.integers(1, 4))):
        side = int(generator.choice(canvas.space.sides()))
        voxels = canvas.space.voxels(side, generator, 200)
        low = voxels[np.argsort(voxels[:, 0])[: max(1, len(voxels) // 3)]]
        at = low[generator.integers(len(low))]
        center = canvas.space.grid.affine @ np.array([at[2], at[1], at[0], 1.0])
        normal = np.array([generator.normal(0, 0.4), generator.normal(0, 0.5), 1.0])
        normal /= np.linalg.norm(normal)
        offset = (x - center[0]) * normal[0] + (y - center[1]) * normal[1] + (z - center[2]) * normal[2]
        around = np.sqrt((x - center[0]) ** 2 + (y - center[1]) ** 2 + (z - center[2]) ** 2)
        half = max(generator.uniform(0.8, 1.8), 0.4 * canvas.space.spacing[0] * abs(normal[2]))
        plate = np.clip(1.5 - np.abs(offset) / half, 0.0, 1.0) * np.clip(
            (generator.uniform(12, 35) - around) / 6.0, 0, 1
        )
        canvas.fill((plate * (canvas.lungs == side)).astype(np.float32), 20.0)


def effusion(canvas: Canvas, generator: np.random.Generator) -> None:
    """Let fluid stand at the back of one side: lung becomes fluid, and is no longer labelled as lung.

    It is left out of training: consolidation against the same wall is lung, and as dense.
    """
    side = int(generator.choice(canvas.space.sides()))
    own = canvas.lungs == side
    rows = np.flatnonzero(own.any(axis=(0, 2)))
    _, y, z = canvas.space.grid.coordinates()
    depth = generator.uniform(8.0, 35.0)
    level = canvas.space.grid.affine[1, 1] * rows[-1] + canvas.space.grid.affine[1, 3] - depth
    slope = generator.uniform(0.0, 0.25)
    low = float(z.min())
    share = np.clip((y - level - slope * (z - low)) / 1.5 + 0.5, 0.0, 1.0) * own
    canvas.image += share.astype(np.float32) * (np.float32(FLUID_HOUNSFIELD) - canvas.image)
    gone = share >= 0.5
    canvas.lungs[gone] = 0
    canvas.labels[gone] = IGNORE


def bowel_gas(canvas: Canvas, generator: np.random.Generator) -> None:
    """Put loops of bowel with gas and stool under the diaphragm, where they are taken for lung."""
    tissue = (canvas.lungs == 0) & (canvas.image > -300.0)
    slices, rows, _ = canvas.image.shape
    tissue[max(1, int(0.35 * slices)) :] = False
    tissue[:, int(0.65 * rows) :] = False
    near = edt.edt(canvas.lungs == 0, anisotropy=canvas.space.spacing, parallel=1)
    places = np.argwhere(tissue & (near > 6.0) & (near < 32.0))
    if not len(places):
        return
    for at in places[generator.integers(len(places), size=int(generator.integers(1, 5)))]:
        radius = generator.uniform(6.0, 22.0)
        box, distance = _irregular_ball(canvas, generator, at, radius)
        inside = np.clip((radius - distance) / 1.5 + 0.5, 0.0, 1.0) * (canvas.lungs[box] == 0)
        content = np.full(distance.shape, -950.0, np.float32)
        if generator.random() < 0.4:
            grid = canvas.space.grid.box(*_corners(box))
            content += 500.0 * np.clip(texture(generator, grid, 6.0, 20.0), 0.0, 1.8)
        canvas.image[box] += inside.astype(np.float32) * (content - canvas.image[box])


def contrast(canvas: Canvas, generator: np.random.Generator) -> None:
    """Enhance the vessels of the lungs."""
    vessels = (canvas.lungs > 0) & (canvas.image > -300.0) & (canvas.labels == 0)
    canvas.image += np.float32(generator.uniform(40.0, 220.0)) * gaussian_filter(vessels.astype(np.float32), 0.5)


def _ball(canvas: Canvas, generator: np.random.Generator, radius: float, *, label: int) -> None:
    side = int(generator.choice(canvas.space.sides()))
    voxels = canvas.space.voxels(side, generator, 50)
    at = voxels[generator.integers(len(voxels))]
    box, distance = _irregular_ball(canvas, generator, at, radius)
    # A ball thinner than a slice still shows in it, fainter.
    softness = 0.5 * float(canvas.space.spacing[0])
    share = np.clip((radius - distance) / softness + 0.5, 0.0, 1.0) * (canvas.lungs[box] == side)
    density = np.float32(generator.uniform(-50.0, 80.0))
    canvas.image[box] += share.astype(np.float32) * np.maximum(density - canvas.image[box], 0.0)
    if label:
        canvas.labels[box][share > 0.2] = label


def _irregular_ball(
    canvas: Canvas, generator: np.random.Generator, at: npt.NDArray[np.int64], radius: float
) -> tuple[Box, FloatArray]:
    """The box around a voxel, and in it the distance in mm from that voxel, uneven by a fifth of the radius."""
    center = (canvas.space.grid.affine @ np.array([at[2], at[1], at[0], 1.0]))[:3]
    reach = np.full(3, 1.6 * radius + 3.0)
    lower, upper = canvas.space.grid.enclosing(center[None] - reach, center[None] + reach)
    first, last = lower[0].tolist(), upper[0].tolist()
    box = (slice(first[0], last[0]), slice(first[1], last[1]), slice(first[2], last[2]))
    grid = canvas.space.grid.box(*_corners(box))
    x, y, z = grid.coordinates()
    distance = np.sqrt((x - center[0]) ** 2 + (y - center[1]) ** 2 + (z - center[2]) ** 2)
    return box, distance + 0.2 * radius * texture(generator, grid, 6.0, 4.0 * radius + 8.0, 24)


def _corners(box: Box) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    slices, rows, columns = box
    return (slices.start, rows.start, columns.start), (slices.stop, rows.stop, columns.stop)
