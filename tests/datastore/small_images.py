"""Small images and masks on one grid."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

AFFINE = np.array([[-2.0, 0, 0, 30], [0, -2, 0, 30], [0, 0, 5, -100], [0, 0, 0, 1]])
SHAPE = (24, 20, 12)


def write_image(path: Path, seed: int = 0) -> Path:
    """Write a small image in Hounsfield units; each seed has its own values."""
    values = np.random.default_rng(seed).integers(-1000, 400, SHAPE).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), path)
    return path


def write_mask(path: Path, value: int = 1, *, affine: np.ndarray = AFFINE, shape: tuple[int, ...] = SHAPE) -> Path:
    """Write a mask on the images' grid, or on another one."""
    mask = np.zeros(shape, np.uint8)
    mask[5:15, 5:15, 3:9] = value
    nibabel.save(nibabel.Nifti1Image(mask, affine), path)
    return path
