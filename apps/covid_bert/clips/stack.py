"""`ClipStack`: the kept slices of a study as 8-bit channels at network size, from which clips are cut.

Raw-mask-lung channels (S2 section 3.5): R is the slice in gray levels, M the lung mask (0 or 255), L the slice with
everything outside the lungs set to 0. Slices that are not 512x512 are first resized to it (S2 section 5.1), composed,
and then resized to 1.25 times the network's input, of which the centre is cut. The networks' input is scaled to
[0, 1] and normalised with the constants of Kinetics for all three channels, as published.

With lesion evidence (channel P) and within a frame around the lungs, which the small configurations use, slices are
composed on their own grid and averaged down to the network's: noise and kernel then count less than lesions do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from covid_bert.clips.frame import Frame, lung_frame
from covid_bert.errors import ParameterError
from covid_bert.lungs.mask import LungMask
from covid_bert.volumes.volume import Volume
from covid_bert.volumes.windows import Window, gray8_slices

KINETICS_MEAN = (0.43216, 0.394666, 0.37645)
KINETICS_DEVIATION = (0.22803, 0.22145, 0.216989)
PAPER_SIDE = 512
_CHUNK = 16


class Channels(str, Enum):
    """The three channels of a slice in the order that the name says: raw, mask, lung, probability of lesions."""

    RML = "RML"
    RRR = "RRR"
    LLL = "LLL"
    RRL = "RRL"
    RPL = "RPL"

    @property
    def shows_lesions(self) -> bool:
        """Whether a channel is the lesion network's probability."""
        return "P" in self.value


@dataclass(frozen=True)
class ClipStack:
    """Slices of one study ready for the networks.

    Parameters
    ----------
    channels
        uint8 (slices, 3, side, side).
    indices
        (slices,): index of each slice in the volume.
    """

    channels: Tensor
    indices: npt.NDArray[np.int64]

    @classmethod
    def prepare(
        cls,
        volume: Volume,
        lungs: LungMask,
        indices: npt.NDArray[np.int64],
        *,
        window: Window,
        side: int = 280,
        channels: Channels = Channels.RML,
        lesion_probability: npt.NDArray[np.uint8] | None = None,
        seen_share: float | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> ClipStack:
        """Compose and resize the slices `indices` of a volume.

        Parameters
        ----------
        volume, lungs
            The study and its lung mask, on one grid.
        indices
            Slices of the volume to keep, ascending.
        window
            What of the HU range becomes 0 ... 255; not used for gray-level volumes.
        side
            Rows and columns of the result: 1.25 times the network's input.
        channels
            Composition of the three channels.
        lesion_probability
            uint8 on the volume's grid, 0 ... 255 for [0, 1]; needed for `Channels.RPL`.
        seen_share
            Share of the sides that the networks' centre crop keeps, for a frame around the lungs of these slices whose
            centre crop holds them all; None for the whole slices, as published.
        on_progress
            Called with the finished fraction; may raise to cancel.

        Raises
        ------
        ParameterError
            If the channels need a lesion probability and there is none, or for a frame around no lungs.

        Notes
        -----
        Memory: 3 * side * side bytes for each slice, and a few slices at full size.
        """
        if channels.shows_lesions and lesion_probability is None:
            raise ParameterError(
                f"The channels {channels.value} need the probability of lesions.", "Segment the lesions first."
            )
        stack = torch.empty((len(indices), 3, side, side), dtype=torch.uint8)
        frame = lung_frame(lungs.array[indices], volume.spacing, seen_share=seen_share) if seen_share else None
        for start in range(0, len(indices), _CHUNK):
            part = indices[start : start + _CHUNK]
            gray = torch.from_numpy(np.ascontiguousarray(gray8_slices(volume, window, part)))
            mask = torch.from_numpy(np.ascontiguousarray(lungs.array[part] > 0))
            lesions = (
                torch.from_numpy(np.ascontiguousarray(lesion_probability[part]))
                if channels.shows_lesions and lesion_probability is not None
                else None
            )
            stack[start : start + len(part)] = compose(gray, mask, channels, side, lesions=lesions, frame=frame)
            if on_progress is not None:
                on_progress((start + len(part)) / len(indices))
        return cls(stack, indices)

    def clip(self, positions: npt.NDArray[np.int64], side: int = 224) -> Tensor:
        """Cut the centre of the slices at `positions`: normalised float32 (1, 3, positions, side, side)."""
        return normalise(centre_crop(self.channels[torch.from_numpy(positions)], side)).transpose(0, 1).unsqueeze(0)


def compose(
    gray: Tensor,
    mask: Tensor,
    channels: Channels,
    side: int,
    *,
    lesions: Tensor | None = None,
    frame: Frame | None = None,
) -> Tensor:
    """Stack the channels of slices at network size.

    Parameters
    ----------
    gray
        uint8 (slices, rows, columns).
    mask
        bool (slices, rows, columns), True in the lungs.
    channels, side
        See `ClipStack.prepare`.
    lesions
        uint8 (slices, rows, columns): probability of lesions, for channels that show it.
    frame
        Part of the slices, composed on their own grid and averaged to `side`; the whole slices as published when None.

    Returns
    -------
    Tensor
        uint8 (slices, 3, side, side).
    """
    if frame is None:
        gray = _resize(gray, PAPER_SIDE)
        binary = _resize(mask.to(torch.uint8) * 255, PAPER_SIDE) >= 128
        lesions = _resize(lesions, PAPER_SIDE) if lesions is not None else None
    else:
        gray, binary = frame.cut(gray), frame.cut(mask)
        lesions = frame.cut(lesions) if lesions is not None else None
    planes = {"R": gray, "M": binary.to(torch.uint8) * 255, "L": gray * binary}
    if lesions is not None:
        planes["P"] = lesions
    resized = {
        name: _resize(plane, side, average=frame is not None)
        for name, plane in planes.items()
        if name in channels.value
    }
    return torch.stack([resized[name] for name in channels.value], dim=1)


def centre_crop(slices: Tensor, side: int) -> Tensor:
    """Cut the centre (..., side, side) out of (..., rows, columns)."""
    top, left = (round((size - side) / 2) for size in slices.shape[-2:])
    return slices[..., top : top + side, left : left + side]


def normalise(slices: Tensor) -> Tensor:
    """Scale (slices, 3, rows, columns) of [0, 255] to [0, 1] and normalise each channel; float32."""
    mean = torch.tensor(KINETICS_MEAN).view(1, 3, 1, 1)
    deviation = torch.tensor(KINETICS_DEVIATION).view(1, 3, 1, 1)
    return (slices.float() / 255.0 - mean) / deviation


def _resize(planes: Tensor, side: int, *, average: bool = False) -> Tensor:
    """Resize uint8 (slices, rows, columns) bilinearly: without antialiasing, as OpenCV's default does, or with it."""
    if planes.shape[-2:] == (side, side):
        return planes
    resized = interpolate(
        planes.float().unsqueeze(1), size=(side, side), mode="bilinear", align_corners=False, antialias=average
    )
    return resized.squeeze(1).round_().clamp_(0, 255).to(torch.uint8)
