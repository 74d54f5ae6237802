"""The small configurations' input: a frame around the lungs, lesion evidence, slices of about one distance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from covid_bert.clips.frame import Frame, lung_frame
from covid_bert.clips.sampling import thinned
from covid_bert.clips.stack import Channels, ClipStack, centre_crop, compose
from covid_bert.errors import ParameterError
from covid_bert.lungs.mask import LungMask
from covid_bert.volumes import LUNG_WINDOW, NativeGrid, Source, Unit, Volume


def lungs_in(rows: slice, columns: slice, shape: tuple[int, int, int] = (3, 100, 160)) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[1:, rows, columns] = 1
    return mask


def study(mask: np.ndarray, spacing: tuple[float, float, float]) -> tuple[Volume, LungMask, np.ndarray]:
    """Soft tissue around lungs of air, with a lesion in the lungs' upper left quarter."""
    hounsfield = np.where(mask > 0, -900, 50).astype(np.int16)
    affine = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
    shape = tuple(reversed(mask.shape))
    lesions = np.zeros(mask.shape, np.uint8)
    rows, columns = (np.flatnonzero(mask.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    lesions[:, rows[0] : rows[len(rows) // 2], columns[0] : columns[len(columns) // 2]] = 200
    volume = Volume(hounsfield, affine, Unit.HOUNSFIELD, Source(Path("made"), "phantom"), NativeGrid(shape, affine))
    return volume, LungMask(mask, "given"), np.where(mask > 0, lesions, 0).astype(np.uint8)


@pytest.mark.parametrize("spacing", [(5.0, 1.0, 1.0), (5.0, 2.0, 0.8)])
@pytest.mark.parametrize("columns", [slice(30, 130), slice(0, 40), slice(140, 160)])
def test_the_centre_crop_of_a_frame_holds_the_lungs_in_a_square_of_millimeters(spacing, columns) -> None:
    mask = lungs_in(slice(20, 90), columns)
    frame = lung_frame(mask, spacing, seen_share=0.8)
    assert frame.rows * spacing[1] == pytest.approx(frame.columns * spacing[2], rel=0.02)
    plane = frame.cut(torch.from_numpy(mask[1:].astype(np.float32)))
    assert plane.shape[1:] == (frame.rows, frame.columns)
    assert plane.sum() == mask.sum()
    height, width = round(0.8 * frame.rows), round(0.8 * frame.columns)
    top, left = (frame.rows - height) // 2, (frame.columns - width) // 2
    assert plane[:, top : top + height, left : left + width].sum() == mask.sum()


def test_a_frame_needs_lungs() -> None:
    with pytest.raises(ParameterError, match="empty"):
        lung_frame(np.zeros((2, 10, 10), np.uint8), (1.0, 1.0, 1.0), seen_share=0.8)


def test_beyond_the_slice_a_frame_is_zero() -> None:
    planes = torch.ones(1, 4, 4)
    cut = Frame(-2, 3, 8, 4).cut(planes)
    assert cut.shape == (1, 8, 4)
    assert cut.sum() == 4
    assert torch.equal(cut[0, 2:6, 0], torch.ones(4))


def test_raw_lesion_probability_and_lung_in_their_order() -> None:
    volume, lungs, probability = study(lungs_in(slice(20, 90), slice(30, 130)), (5.0, 1.0, 1.0))
    stack = ClipStack.prepare(
        volume,
        lungs,
        np.array([1, 2]),
        window=LUNG_WINDOW,
        side=120,
        channels=Channels.RPL,
        lesion_probability=probability,
        seen_share=0.8,
    )
    raw, lesions, lung = centre_crop(stack.channels, 96)[0]
    assert lesions.max() == 200
    assert int(lesions[30, 10]) == 200
    assert int(lesions[60, 80]) == 0
    inside, outside = round((-900 + 1150) / 1500 * 255), round((50 + 1150) / 1500 * 255)
    assert abs(int(raw[60, 80]) - inside) <= 1
    assert abs(int(lung[60, 80]) - inside) <= 1
    assert abs(int(raw[8, 40]) - outside) <= 1
    assert int(lung[8, 40]) == 0


def test_the_field_of_view_does_not_matter() -> None:
    narrow = study(lungs_in(slice(20, 90), slice(30, 130)), (5.0, 1.0, 1.0))
    wide = study(lungs_in(slice(70, 140), slice(60, 160), (3, 200, 240)), (5.0, 1.0, 1.0))
    stacks = [
        ClipStack.prepare(
            volume,
            lungs,
            np.array([1, 2]),
            window=LUNG_WINDOW,
            side=120,
            channels=Channels.RPL,
            lesion_probability=probability,
            seen_share=0.8,
        ).channels
        for volume, lungs, probability in (narrow, wide)
    ]
    # What lies beyond the smaller scan is black there.
    assert torch.equal(*(centre_crop(stack, 96)[:, 1:] for stack in stacks))


def test_a_frame_is_averaged_so_that_noise_shrinks() -> None:
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 480, 480), dtype=np.uint8))
    mask = torch.ones(noise.shape, dtype=torch.bool)
    sampled = compose(noise, mask, Channels.RRR, 120)[0, 0].float()
    averaged = compose(noise, mask, Channels.RRR, 120, frame=Frame(0, 0, 480, 480))[0, 0].float()
    assert averaged.std() < 0.6 * sampled.std()


def test_without_a_probability_the_channels_are_refused() -> None:
    volume, lungs, _ = study(lungs_in(slice(20, 90), slice(30, 130)), (5.0, 1.0, 1.0))
    with pytest.raises(ParameterError, match="probability of lesions"):
        ClipStack.prepare(volume, lungs, np.array([1]), window=LUNG_WINDOW, channels=Channels.RPL)


@pytest.mark.parametrize(
    ("spacing", "step", "left"),
    [(5.0, 2.5, 20), (2.5, 2.5, 20), (2.0, 2.5, 20), (1.25, 2.5, 10), (1.0, 2.5, 10), (0.625, 2.5, 5)],
)
def test_thin_slices_are_left_out(spacing: float, step: float, left: int) -> None:
    indices = np.arange(7, 27)
    chosen = thinned(indices, spacing, step)
    assert len(chosen) == left
    assert set(chosen) <= set(indices)
    assert len(set(np.diff(chosen))) == 1
    # What is left out is left out at both ends alike.
    assert abs((chosen[0] - indices[0]) - (indices[-1] - chosen[-1])) <= 1
