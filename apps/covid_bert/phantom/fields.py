"""Smooth random functions of space that do not depend on the grid on which they are evaluated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from covid_bert.phantom.grid import FloatArray, Grid


@dataclass(frozen=True, eq=False)
class RandomField:
    """A sum of plane waves with random directions: about Gaussian, mean 0, standard deviation 1.

    On a grid the phase of a wave is a sum of one term for each index, so the sum over all waves is one matrix
    product: hundreds of waves cost little more than one.
    (A. Rahimi and B. Recht, "Random features for large-scale kernel machines", NeurIPS 2007.)

    Parameters
    ----------
    wave_vectors
        (waves, 3), radians per mm along x, y and z.
    phases
        (waves,), radians.
    """

    wave_vectors: npt.NDArray[np.float64]
    phases: npt.NDArray[np.float64]

    @classmethod
    def draw(cls, generator: np.random.Generator, shortest: float, longest: float, waves: int = 48) -> RandomField:
        """Draw a field whose wavelengths lie between `shortest` and `longest` mm, even on a logarithmic scale."""
        directions = generator.normal(size=(waves, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        wavelengths = np.exp(generator.uniform(np.log(shortest), np.log(longest), waves))
        return cls(directions * (2 * np.pi / wavelengths)[:, None], generator.uniform(0, 2 * np.pi, waves))

    def on(self, grid: Grid) -> FloatArray:
        """Return the values on a grid, float32 (slices, rows, columns)."""
        column, row, slice_ = (
            np.exp(1j * np.arange(count)[:, None] * (self.wave_vectors @ grid.affine[:3, axis]))
            for axis, count in enumerate(grid.shape[::-1])
        )
        start = np.exp(1j * (self.wave_vectors @ grid.affine[:3, 3] + self.phases))
        plane = (slice_ * start)[:, None, :] * row[None, :, :]
        left = np.concatenate([plane.real, -plane.imag], axis=2).astype(np.float32)
        right = np.concatenate([column.real, column.imag], axis=1).astype(np.float32)
        return (left @ right.T) * np.float32(np.sqrt(2 / len(self.phases)))
