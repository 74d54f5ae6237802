"""What a scanner adds to a picture: motion, the kernel of its reconstruction, noise; in the body and around it.

The networks meet these on studies with and without lesions alike, so that none of them can stand for a class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, shift

from covid_bert.phantom.grid import FloatArray


@dataclass(eq=False)
class Scan:
    """A whole picture that is being changed.

    Parameters
    ----------
    image
        float32 HU (slices, rows, columns).
    spacing
        mm along the same axes.
    """

    image: FloatArray
    spacing: tuple[float, float, float]


def motion(scan: Scan, generator: np.random.Generator) -> None:
    """Blur a run of slices by the movement of heart or diaphragm."""
    slices = scan.image.shape[0]
    first = int(generator.integers(0, max(1, slices // 2)))
    last = min(slices, first + max(1, int(slices * generator.uniform(0.1, 0.5))))
    part = scan.image[first:last]
    way = generator.normal(0.0, 2.0, 2) / np.array(scan.spacing[1:])
    moved = shift(part, (0.0, *way), order=1, mode="nearest")
    scan.image[first:last] = 0.5 * (part + moved)


def noise(scan: Scan, generator: np.random.Generator) -> None:
    """Add the noise of a low dose, correlated within the slice."""
    white = generator.standard_normal(scan.image.shape, dtype=np.float32)
    width = generator.uniform(0.3, 0.9) / np.array(scan.spacing[1:])
    correlated = gaussian_filter(white, (0.0, *width))
    scan.image += np.float32(generator.uniform(8.0, 60.0)) * correlated / max(float(correlated.std()), 1e-6)


def blur(scan: Scan, generator: np.random.Generator) -> None:
    """Smooth within the slice, as a soft kernel does."""
    width = generator.uniform(0.4, 1.1) / np.array(scan.spacing[1:])
    scan.image[:] = gaussian_filter(scan.image, (0.0, *width))


def sharpen(scan: Scan, generator: np.random.Generator) -> None:
    """Emphasise edges within the slice, as a lung kernel does."""
    width = 1.0 / np.array(scan.spacing[1:])
    detail = scan.image - gaussian_filter(scan.image, (0.0, *width))
    scan.image += np.float32(generator.uniform(0.3, 1.2)) * detail
