"""How a training sample of the segmenters is cut out of its slab and changed, as patients and scanners differ."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, max_pool2d

from covid_bert.segmentation.working_grid import AIR_HOUNSFIELD

FloatArray = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]
# Of a mask that takes in the hilum, whose vessels reach into the lungs.
HILUM_CHANCE = 0.5
HILUM_PIXELS = (2, 12)
# The largest share of a border that another field of view leaves out.
LARGEST_CUT = 0.35


def sampling_matrix(
    lungs: Labels, lesions: Labels, target: str, crop: tuple[int, int], generator: np.random.Generator
) -> Tensor:
    """Draw where a sample lies in its slab: scaled, turned, moved, and mirrored where the sides do not matter.

    Parameters
    ----------
    lungs, lesions
        Of the slab, (rows, columns).
    target
        ``lungs`` or ``lesions``; samples for lesions lie in the lungs, and more of them on lesions.
    crop
        Rows and columns of the sample.
    generator
        The source of chance.

    Returns
    -------
    Tensor
        float32 (2, 3): from the sample to the slab, in coordinates of `torch.nn.functional.grid_sample`.
    """
    rows, columns = lungs.shape
    zoom = float(np.exp(generator.normal(0.0, 0.12)))
    angle = float(generator.normal(0.0, 0.12))
    mirrored = -1.0 if target == "lesions" and generator.random() < 0.5 else 1.0
    if target == "lesions":
        at = np.argwhere(lungs > 0)
        wanted = np.argwhere((lesions == 1) | (lesions == 2))
        if len(wanted) and generator.random() < 0.6:
            at = wanted
        center = at[generator.integers(len(at))] if len(at) else np.array([rows / 2, columns / 2])
        center = center + generator.normal(0.0, 0.15, 2) * np.array(crop)
        # A sample that hangs over the edge would be half empty.
        half = 0.5 * zoom * np.array(crop)
        size = np.array([rows, columns])
        center = np.where(2 * half < size, np.clip(center, half, np.maximum(half, size - half)), size / 2)
    else:
        center = np.array([rows / 2, columns / 2]) + generator.normal(0.0, 8.0, 2)
    # Half extents of the sample in the slab's normalised coordinates.
    height, width = zoom * crop[0] / rows, zoom * crop[1] / columns
    cosine, sine = np.cos(angle), np.sin(angle)
    aspect = rows / columns
    return torch.tensor(
        [
            [mirrored * width * cosine, -height * sine * aspect, 2 * center[1] / columns - 1],
            [mirrored * width * sine / aspect, height * cosine, 2 * center[0] / rows - 1],
        ],
        dtype=torch.float32,
    )


def resample(planes: Tensor, matrix: Tensor, crop: tuple[int, int], mode: str, outside: float) -> Tensor:
    """Cut a sample out of planes (channels, rows, columns); `outside` is the value beyond them."""
    grid = affine_grid(matrix[None], [1, 1, *crop], align_corners=False)
    # Zero is the only value that `grid_sample` can put outside.
    return grid_sample((planes - outside)[None], grid, mode=mode, align_corners=False)[0] + outside


def cut_off(image: Tensor, labels: Tensor, generator: np.random.Generator) -> None:
    """Leave out what a smaller field of view would: one or two borders of a sample become air; in place."""
    for axis in generator.choice([-2, -1], size=int(generator.integers(1, 3))):
        length = image.shape[axis]
        count = int(length * generator.uniform(0.0, LARGEST_CUT))
        start = 0 if generator.random() < 0.5 else length - count
        image.narrow(int(axis), start, count).fill_(AIR_HOUNSFIELD)
        labels.narrow(int(axis), start, count).fill_(0)


def generous(mask: Tensor, generator: np.random.Generator) -> Tensor:
    """Change a lung mask, float32 (1, rows, columns), as methods differ: by a pixel, or with the hilum in it."""
    if generator.random() < HILUM_CHANCE:
        radius = int(generator.integers(*HILUM_PIXELS))
        mask = -_grown(-_grown(mask, radius), radius)
    return _grown(mask, 1) if generator.random() < 0.3 else mask


def _grown(mask: Tensor, pixels: int) -> Tensor:
    return max_pool2d(mask[None], 2 * pixels + 1, 1, pixels)[0]


def another_scanner(hounsfield: FloatArray, generator: np.random.Generator) -> FloatArray:
    """Change values as other scanners, kernels and file formats do."""
    values = hounsfield * np.float32(generator.normal(1.0, 0.02)) + np.float32(generator.normal(0.0, 14.0))
    if generator.random() < 0.25:
        # Volumes that were 8-bit images once: few steps, and nothing above soft tissue.
        step = np.float32(generator.uniform(4.0, 10.0))
        values = np.minimum(np.rint(values / step) * step, np.float32(generator.uniform(120.0, 300.0)))
    if generator.random() < 0.25:
        values = values + generator.standard_normal(values.shape, dtype=np.float32) * np.float32(
            generator.uniform(3.0, 35.0)
        )
    return values.astype(np.float32)
