"""The part of the slices that a network sees: a square in mm around the lungs, whatever the scan's field of view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn.functional import pad

from covid_bert.errors import ParameterError

# The lungs' longer side is this share of the square that the centre crop holds.
_FILLED = 0.95


@dataclass(frozen=True)
class Frame:
    """A rectangle of the slices, in pixels; it may reach beyond them.

    Parameters
    ----------
    top, left
        First row and column.
    rows, columns
        Size.
    """

    top: int
    left: int
    rows: int
    columns: int

    def cut(self, planes: Tensor) -> Tensor:
        """(slices, rows, columns) to (slices, frame rows, frame columns), 0 where the frame reaches beyond them."""
        height, width = planes.shape[-2:]
        bottom, right = self.top + self.rows, self.left + self.columns
        inside = planes[..., max(self.top, 0) : max(bottom, 0), max(self.left, 0) : max(right, 0)]
        return pad(inside, (max(-self.left, 0), max(right - width, 0), max(-self.top, 0), max(bottom - height, 0)))


def lung_frame(lungs: npt.NDArray[np.uint8], spacing: tuple[float, float, float], *, seen_share: float) -> Frame:
    """The square around the lungs whose centre crop holds them all.

    Parameters
    ----------
    lungs
        (slices, rows, columns), above 0 in the lungs.
    spacing
        mm along the same axes.
    seen_share
        Share of the frame's sides that the centre crop keeps.

    Raises
    ------
    ParameterError
        If there is no lung.
    """
    rows, columns = (np.flatnonzero((lungs > 0).any(axis=others)) for others in ((0, 2), (0, 1)))
    if not len(rows):
        raise ParameterError("The lung mask is empty.", "Draw the lungs, or let them be segmented.")
    ends = [(int(found[0]), int(found[-1]) + 1) for found in (rows, columns)]
    lengths = [(last - first) * step for (first, last), step in zip(ends, spacing[1:], strict=True)]
    side = max(lengths) / _FILLED / seen_share
    size = [max(1, round(side / step)) for step in spacing[1:]]
    start = [round((first + last - length) / 2) for (first, last), length in zip(ends, size, strict=True)]
    return Frame(start[0], start[1], size[0], size[1])
