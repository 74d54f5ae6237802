"""Geometry and grey levels of the augmentations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from covid_bert.clips import augmentation
from covid_bert.clips.augmentation import CorrectedAugmentation, PublishedAugmentation
from covid_bert.clips.stack import KINETICS_DEVIATION, KINETICS_MEAN


def spot(column: float, row: float, side: int = 101) -> torch.Tensor:
    rows, columns = np.mgrid[:side, :side]
    blob = 255 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 18)
    return torch.from_numpy(blob).float().expand(2, 3, side, side)


def centre_of_mass(slices: torch.Tensor) -> tuple[float, float]:
    plane = slices[0, 0].numpy()
    rows, columns = np.mgrid[: plane.shape[0], : plane.shape[1]]
    return float((plane * columns).sum() / plane.sum()), float((plane * rows).sum() / plane.sum())


def test_warp_moves_a_spot_where_the_formula_says() -> None:
    angle, shear, scale, shift = 12.0, 7.0, 1.1, (6.0, -4.0)
    warped = augmentation.warp(spot(70, 40), angle=angle, shift=shift, scale=scale, shear=shear)
    x, y = 70 - 50, 40 - 50
    sheared = x - math.tan(math.radians(shear)) * y
    turned_x = sheared * math.cos(math.radians(angle)) - y * math.sin(math.radians(angle))
    turned_y = sheared * math.sin(math.radians(angle)) + y * math.cos(math.radians(angle))
    column, row = centre_of_mass(warped)
    assert column == pytest.approx(50 + scale * turned_x + shift[0], abs=0.2)
    assert row == pytest.approx(50 + scale * turned_y + shift[1], abs=0.2)


def test_warp_without_change_is_the_identity() -> None:
    slices = torch.rand(2, 3, 40, 40) * 255
    same = augmentation.warp(slices, angle=0.0, shift=(0.0, 0.0), scale=1.0, shear=0.0)
    assert torch.allclose(same, slices, atol=1e-3)


def test_crop_sizes_are_the_published_ten() -> None:
    assert sorted(augmentation.crop_sizes(280)) == sorted(
        [
            *((280, 280), (280, 245), (245, 280), (245, 245), (245, 210)),
            *((210, 245), (210, 210), (210, 184), (184, 210), (184, 184)),
        ]
    )
    assert len(augmentation.CROP_OFFSETS) == 13


def test_brightness_and_contrast_by_hand() -> None:
    slices = torch.full((1, 3, 2, 2), 100.0)
    slices[..., 0] = 50.0
    bright = augmentation.adjust(slices, brightness=1.2, contrast=1.0)
    assert torch.allclose(bright, slices * 1.2)
    # Mean 90 after brightness 1.2: contrast 0.5 halves the distance from it.
    both = augmentation.adjust(slices, brightness=1.2, contrast=0.5)
    assert torch.allclose(both, 90 + (slices * 1.2 - 90) * 0.5)


@pytest.mark.parametrize("augment", [PublishedAugmentation(), CorrectedAugmentation()])
def test_augmented_clips_are_normalised_seeded_and_alike_over_the_slices(augment) -> None:
    one = torch.randint(0, 256, (1, 3, 280, 280), dtype=torch.uint8)
    clip = one.expand(5, -1, -1, -1)
    first = augment(clip, np.random.default_rng(3))
    assert first.shape == (3, 5, 224, 224)
    assert torch.equal(first, augment(clip, np.random.default_rng(3)))
    assert not torch.equal(first, augment(clip, np.random.default_rng(4)))
    assert torch.allclose(first[:, 0], first[:, 4])
    low = [-mean / deviation for mean, deviation in zip(KINETICS_MEAN, KINETICS_DEVIATION, strict=True)]
    assert all(float(first[channel].min()) >= low[channel] - 1e-4 for channel in range(3))


def test_corrected_augmentation_leaves_mask_values_alone() -> None:
    clip = torch.full((2, 3, 280, 280), 128, dtype=torch.uint8)
    clip[:, 1] = 255
    published_changed = False
    for seed in range(20):
        corrected = CorrectedAugmentation(affine_probability=0.0)(clip, np.random.default_rng(seed))
        white = (1.0 - KINETICS_MEAN[1]) / KINETICS_DEVIATION[1]
        assert torch.allclose(corrected[1], torch.full_like(corrected[1], white), atol=1e-4)
        published = PublishedAugmentation()(clip, np.random.default_rng(seed))
        published_changed |= bool(published[1].max() < white - 0.1)
    assert published_changed
