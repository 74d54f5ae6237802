"""What exactly the networks see: channels, order of resizing and composing, crop, normalisation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from covid_bert.clips.stack import KINETICS_DEVIATION, KINETICS_MEAN, Channels, ClipStack, centre_crop, compose
from covid_bert.errors import CancelledError
from covid_bert.lungs.mask import LungMask
from covid_bert.progress import Progress
from covid_bert.volumes import LUNG_WINDOW, NativeGrid, Source, Unit, Volume


def volume_of(array: np.ndarray, unit: Unit) -> Volume:
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    shape = tuple(reversed(array.shape))
    return Volume(array, affine, unit, Source(Path("made"), "phantom"), NativeGrid(shape, affine))


def halves(rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A slice of gray 200 whose left half is lung."""
    gray = torch.full((1, rows, columns), 200, dtype=torch.uint8)
    mask = torch.zeros((1, rows, columns), dtype=torch.bool)
    mask[:, :, : columns // 2] = True
    return gray, mask


@pytest.mark.parametrize("size", [(512, 512), (300, 400), (256, 256)])
@pytest.mark.parametrize(
    ("channels", "inside", "outside"),
    [
        (Channels.RML, (200, 255, 200), (200, 0, 0)),
        (Channels.RRR, (200, 200, 200), (200, 200, 200)),
        (Channels.LLL, (200, 200, 200), (0, 0, 0)),
        (Channels.RRL, (200, 200, 200), (200, 200, 0)),
    ],
)
def test_channels_in_their_order(size, channels, inside, outside) -> None:
    composed = compose(*halves(*size), channels, 280)
    assert composed.shape == (1, 3, 280, 280)
    assert composed.dtype == torch.uint8
    assert tuple(composed[0, :, 140, 20].tolist()) == inside
    assert tuple(composed[0, :, 140, 260].tolist()) == outside


def test_slices_are_composed_at_512_and_then_resized() -> None:
    """A slice of 512 x 512 is masked pixel by pixel before it shrinks: the lung channel is not raw times mask."""
    gray = torch.randint(0, 256, (1, 512, 512), dtype=torch.uint8)
    mask = torch.rand(1, 512, 512) > 0.5
    raw, _, lung = compose(gray, mask, Channels.RML, 280)[0]
    small = torch.nn.functional.interpolate(
        (gray * mask).float()[None], size=(280, 280), mode="bilinear", align_corners=False
    )[0, 0]
    assert torch.equal(lung, small.round().to(torch.uint8))
    assert not torch.equal(lung, raw)


def test_resizing_is_bilinear_without_antialiasing() -> None:
    gray = torch.zeros((1, 512, 512), dtype=torch.uint8)
    gray[:, ::4] = 200
    # To a quarter, each sample lies between the second and third of four rows; an antialiased one would see all four.
    quarter = compose(gray, torch.ones(1, 512, 512, dtype=torch.bool), Channels.RRR, 128)
    assert set(quarter.unique().tolist()) == {0}


def test_clip_is_the_normalised_centre_of_the_chosen_slices() -> None:
    array = np.zeros((5, 512, 512), np.uint8)
    for index in range(5):
        array[index] = 10 * index
    mask = LungMask(np.ones_like(array), "given")
    stack = ClipStack.prepare(
        volume_of(array, Unit.GRAY8), mask, np.array([1, 2, 4]), window=LUNG_WINDOW, channels=Channels.RML
    )
    assert stack.indices.tolist() == [1, 2, 4]
    clip = stack.clip(np.array([0, 0, 2]))
    assert clip.shape == (1, 3, 3, 224, 224)
    for place, gray in enumerate((10, 10, 40)):
        expected = [
            (value / 255 - mean) / deviation
            for value, mean, deviation in zip((gray, 255, gray), KINETICS_MEAN, KINETICS_DEVIATION, strict=True)
        ]
        assert clip[0, :, place, 100, 100].tolist() == pytest.approx(expected, abs=1e-5)


def test_hounsfield_units_pass_the_window() -> None:
    array = np.full((2, 512, 512), -400, np.int16)
    array[1] = 350
    mask = LungMask(np.zeros(array.shape, np.uint8), "given")
    stack = ClipStack.prepare(
        volume_of(array, Unit.HOUNSFIELD), mask, np.array([0, 1]), window=LUNG_WINDOW, channels=Channels.RRR
    )
    assert [int(plane.unique()) for plane in stack.channels[:, 0]] == [128, 255]


def test_centre_crop_takes_the_centre() -> None:
    plane = torch.arange(280)[None, None, None].expand(1, 1, 280, 280)
    crop = centre_crop(plane, 224)
    assert crop.shape[-1] == 224
    assert int(crop[0, 0, 0, 0]) == 28


def test_preparing_can_be_cancelled() -> None:
    array = np.zeros((40, 64, 64), np.uint8)
    progress = Progress()
    progress.cancel()
    with pytest.raises(CancelledError):
        ClipStack.prepare(
            volume_of(array, Unit.GRAY8),
            LungMask(np.ones_like(array), "given"),
            np.arange(40),
            window=LUNG_WINDOW,
            on_progress=lambda fraction: progress.update("slices", fraction),
        )
