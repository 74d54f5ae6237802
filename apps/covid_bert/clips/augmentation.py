"""Augmentation of training clips: the published one and the corrected one, one draw for all slices of a clip.

Clips are uint8 (slices, 3, rows, columns) at 1.25 times the network's input (`ClipStack.channels`); the result is
float32 (3, slices, side, side), normalised, ready for the network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from covid_bert.clips.stack import centre_crop, normalise

# Crop sides as shares of the enlarged slice; neighbours in this list may be combined (at most one step apart).
CROP_RATIOS = (1.0, 0.875, 0.75, 0.66)
# Offsets of the crops in quarters of the margin between enlarged slice and network input: corners, centre, middles
# of the edges, quarter points.
CROP_OFFSETS = (
    *((0, 0), (0, 4), (4, 0), (4, 4), (2, 2)),
    *((0, 2), (4, 2), (2, 0), (2, 4)),
    *((1, 1), (1, 3), (3, 1), (3, 3)),
)


@dataclass(frozen=True)
class PublishedAugmentation:
    """Affine, brightness, contrast, multi-scale crop and flip as in the authors' code.

    Brightness and contrast change all three channels, the mask too, and crops that overrun the slice are silently
    cut short, both as published.

    Parameters
    ----------
    side
        Rows and columns of the network's input.
    affine
        Whether the slices are warped, brightened and contrasted before the crop: True in the code of S1; False in the
        code of S2 as published, which is the best row of the paper's table ("MSC").
    """

    side: int = 224
    affine: bool = True

    def __call__(self, clip: Tensor, generator: np.random.Generator) -> Tensor:
        """Augment one clip; see the module's text for shapes."""
        slices = clip.float()
        if self.affine:
            slices = self._warped(slices, generator)
        slices = multi_scale_crop(slices, self.side, generator)
        return normalise(flip(slices, generator)).transpose(0, 1)

    @staticmethod
    def _warped(slices: Tensor, generator: np.random.Generator) -> Tensor:
        rows, columns = slices.shape[-2:]
        slices = warp(
            slices,
            angle=float(generator.integers(-15, 16)),
            shift=(
                int(generator.integers(int(-columns * 0.1), int(columns * 0.1) + 1)),
                int(generator.integers(int(-rows * 0.1), int(rows * 0.1) + 1)),
            ),
            scale=1.0 + round(float(generator.uniform(-0.2, 0.2)), 1),
            shear=float(generator.integers(-10, 11)),
        )
        return adjust(
            slices,
            brightness=1.0 + round(float(generator.uniform(-0.5, 0.5)), 1),
            contrast=1.0 + round(float(generator.uniform(-0.3, 0.3)), 1),
        )


@dataclass(frozen=True)
class CorrectedAugmentation:
    """Multi-scale crop and flip, gentler affine, brightness and contrast that leave the mask alone.

    Parameters
    ----------
    side
        Rows and columns of the network's input.
    affine_probability
        Share of the clips that are warped; the paper's best table row has none.
    mask_channel
        Channel that holds the mask and keeps its values; None if there is none.
    """

    side: int = 224
    affine_probability: float = 0.5
    mask_channel: int | None = 1

    def __call__(self, clip: Tensor, generator: np.random.Generator) -> Tensor:
        """Augment one clip; see the module's text for shapes."""
        rows, columns = clip.shape[-2:]
        slices = clip.float()
        if generator.random() < self.affine_probability:
            slices = warp(
                slices,
                angle=float(generator.uniform(-10, 10)),
                shift=(
                    float(generator.uniform(-0.1, 0.1)) * columns,
                    float(generator.uniform(-0.1, 0.1)) * rows,
                ),
                scale=float(generator.uniform(0.9, 1.1)),
                shear=0.0,
            )
        changed = adjust(
            slices, brightness=float(generator.uniform(0.8, 1.2)), contrast=float(generator.uniform(0.8, 1.2))
        )
        if self.mask_channel is not None:
            changed[:, self.mask_channel] = slices[:, self.mask_channel]
        slices = changed
        if generator.random() < 0.5:
            slices = multi_scale_crop(slices, self.side, generator, keep_inside=True)
        else:
            slices = centre_crop(slices, self.side)
        return normalise(flip(slices, generator)).transpose(0, 1)


def warp(slices: Tensor, *, angle: float, shift: tuple[float, float], scale: float, shear: float) -> Tensor:
    """Rotate, shear, scale about the centre and shift all slices alike, bilinearly, with black outside.

    Parameters
    ----------
    slices
        float (slices, channels, rows, columns).
    angle, shear
        Degrees, clockwise; the shear is along the columns.
    shift
        (columns, rows) in pixels.
    scale
        Above 1 enlarges.
    """
    rows, columns = slices.shape[-2:]
    rotation, slope = math.radians(angle), math.radians(shear)
    # In pixel coordinates about the centre: output = scale * rotation * shear * input + shift; sampling needs its
    # inverse, in coordinates where each side of the slice is 2 long.
    rotate = np.array([[math.cos(rotation), -math.sin(rotation)], [math.sin(rotation), math.cos(rotation)]])
    forward = scale * rotate @ np.array([[1.0, -math.tan(slope)], [0.0, 1.0]])
    inverse = np.linalg.inv(forward)
    offset = -inverse @ np.asarray(shift)
    half = np.array([columns / 2, rows / 2])
    theta = np.column_stack((inverse * half[None, :] / half[:, None], offset / half))
    grid = affine_grid(torch.tensor(theta[None], dtype=slices.dtype), [1, 1, rows, columns], align_corners=False)
    return grid_sample(slices, grid.expand(len(slices), -1, -1, -1), mode="bilinear", align_corners=False)


def adjust(slices: Tensor, *, brightness: float, contrast: float) -> Tensor:
    """Scale gray levels, then their distance from each slice's rounded mean gray, clipped to [0, 255]."""
    bright = (slices * brightness).clamp(0, 255)
    # Luma of the three channels, as an image library's contrast takes it.
    luma = (bright * bright.new_tensor((0.299, 0.587, 0.114)).view(1, 3, 1, 1)).sum(1, keepdim=True)
    mean = luma.mean((-2, -1), keepdim=True).round()
    return (mean + (bright - mean) * contrast).clamp(0, 255)


def crop_sizes(side: int) -> list[tuple[int, int]]:
    """The (rows, columns) that a multi-scale crop of a slice of `side` chooses from: 10 pairs."""
    lengths = [int(side * ratio) for ratio in CROP_RATIOS]
    return [
        (rows, columns)
        for first, rows in enumerate(lengths)
        for second, columns in enumerate(lengths)
        if abs(first - second) <= 1
    ]


def multi_scale_crop(slices: Tensor, side: int, generator: np.random.Generator, *, keep_inside: bool = False) -> Tensor:
    """Cut one of ten sizes at one of thirteen offsets and resize to `side`.

    Parameters
    ----------
    slices
        float (slices, channels, rows, columns).
    side
        Rows and columns of the result.
    generator
        Source of the two draws.
    keep_inside
        True moves a crop that overruns the slice back inside; False cuts it short, as published.
    """
    rows, columns = slices.shape[-2:]
    sizes = crop_sizes(min(rows, columns))
    height, width = sizes[generator.integers(len(sizes))]
    quarter_rows, quarter_columns = CROP_OFFSETS[generator.integers(len(CROP_OFFSETS))]
    top, left = quarter_rows * ((rows - side) // 4), quarter_columns * ((columns - side) // 4)
    if keep_inside:
        top, left = min(top, rows - height), min(left, columns - width)
    crop = slices[..., top : top + height, left : left + width]
    return interpolate(crop, size=(side, side), mode="bilinear", align_corners=False)


def flip(slices: Tensor, generator: np.random.Generator) -> Tensor:
    """Mirror left and right with probability one half."""
    return slices.flip(-1) if generator.random() < 0.5 else slices
