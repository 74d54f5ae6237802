"""Random textures on the grid of a study, the same on any grid for the same seed."""

from __future__ import annotations

import numpy as np

from covid_bert.phantom.fields import RandomField
from covid_bert.phantom.grid import FloatArray, Grid


def texture(generator: np.random.Generator, grid: Grid, shortest: float, longest: float, waves: int = 48) -> FloatArray:
    """Draw a smooth random field of mean 0 and standard deviation 1 with wavelengths in mm between two limits."""
    return RandomField.draw(generator, shortest, longest, waves).on(grid)


def ridges(generator: np.random.Generator, grid: Grid, wavelength: float, width: float) -> FloatArray:
    """Draw thin sheets, 1 on them and 0 away from them, as the septa of lobules form.

    Parameters
    ----------
    wavelength
        mm; the sheets enclose cells of about half of it.
    width
        Width of the sheets as a share of the field's standard deviation.
    """
    field = texture(generator, grid, 0.8 * wavelength, 1.4 * wavelength)
    return np.clip(1.0 - np.abs(field) / np.float32(width), 0.0, 1.0)
