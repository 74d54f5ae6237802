"""Volumes and shares of lesions, against blocks whose numbers are known and against another way of counting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from covid_bert.errors import ParameterError
from covid_bert.lesions import LESION_LABELS, LesionMask, measure_lesions
from covid_bert.lungs.mask import LungMask
from covid_bert.volumes import NativeGrid, Source, Unit, Volume

SHAPE = (40, 60, 100)
SPACING = (2.0, 1.5, 1.0)
VOXEL = 0.003  # ml


def volume_of(*, spacing_known: bool = True) -> Volume:
    affine = np.diag([-SPACING[2], -SPACING[1], SPACING[0], 1.0])
    native = NativeGrid(tuple(reversed(SHAPE)), affine)
    source = Source(Path("made"), "phantom")
    return Volume(np.zeros(SHAPE, np.int16), affine, Unit.HOUNSFIELD, source, native, spacing_known=spacing_known)


def chest() -> np.ndarray:
    """Two boxes of 30x40x30 voxels, the right one at the smaller columns; they touch at column 50."""
    lungs = np.zeros(SHAPE, np.uint8)
    lungs[5:35, 10:50, 20:50] = 1
    lungs[5:35, 10:50, 50:80] = 2
    return lungs


def measured(labels: np.ndarray, lungs: np.ndarray | None = None, volume: Volume | None = None):
    lungs = chest() if lungs is None else lungs
    mask = LesionMask(labels.copy(), np.where(labels > 0, 255, 0).astype(np.uint8), "given")
    return measure_lesions(volume or volume_of(), LungMask(lungs.copy(), "given"), mask)


def test_volumes_and_shares_by_side_and_class() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[5:15, 10:20, 20:30] = 1  # 1000 voxels, right, below
    labels[25:35, 10:20, 60:65] = 2  # 500 voxels, left, above
    found = measured(labels)
    assert (found.right_ground_glass_ml, found.left_ground_glass_ml) == pytest.approx((3.0, 0.0))
    assert (found.right_consolidation_ml, found.left_consolidation_ml) == pytest.approx((0.0, 1.5))
    assert found.total_ml == pytest.approx(4.5)
    lung = 30 * 40 * 30
    assert (found.right_share, found.left_share, found.share) == pytest.approx((1000 / lung, 500 / lung, 750 / lung))
    assert found.lower_share == pytest.approx(2 / 3)
    assert found.count == 2
    per_slice = found.share_by_slice
    assert np.isnan(per_slice[[0, 4, 35, 39]]).all()
    assert per_slice[5:15] == pytest.approx(100 / 2400)
    assert per_slice[15:25] == pytest.approx(0)
    assert per_slice[25:35] == pytest.approx(50 / 2400)


def test_what_lies_outside_the_lungs_does_not_count() -> None:
    labels = np.ones(SHAPE, np.uint8)
    found = measured(labels)
    assert found.share == found.right_share == found.left_share == pytest.approx(1.0)
    assert found.total_ml == pytest.approx(2 * 30 * 40 * 30 * VOXEL)
    assert found.count == 2, "lesions of both lungs that touch in the middle are two"


def test_a_slice_across_the_middle_is_divided() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    lungs = chest()
    lungs[34] = 0  # 29 slices: the middle runs through slice 19
    labels[19, 10:20, 20:30] = 1
    assert measured(labels, lungs).lower_share == pytest.approx(0.5)
    labels[18, 10:20, 20:30] = 1
    assert measured(labels, lungs).lower_share == pytest.approx(0.75)


def test_peripheral_is_within_twenty_millimetres_of_the_own_lungs_border() -> None:
    lungs, rng = chest(), np.random.default_rng(0)
    labels = np.where((rng.random(SHAPE) < 0.1) & (lungs > 0), 1, 0).astype(np.uint8)
    near = total = 0
    for side in (1, 2):
        # Exact Euclidean distances by another library, over the whole volume.
        depth = ndimage.distance_transform_edt(lungs == side, sampling=SPACING)
        lesion = (labels > 0) & (lungs == side)
        near += int((depth[lesion] <= 20.0).sum())
        total += int(lesion.sum())
    assert measured(labels).peripheral_share == pytest.approx(near / total)
    big = np.ones((60, 120, 130), np.uint8)
    big[[0, -1]] = big[:, [0, -1]] = 0
    big[:, :, [0, -1]] = 0
    deep = np.zeros_like(big)
    deep[30, 60, 60:70] = 2
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    native = NativeGrid(tuple(reversed(big.shape)), affine)
    volume = Volume(np.zeros(big.shape, np.int16), affine, Unit.HOUNSFIELD, Source(Path("made"), "phantom"), native)
    assert measured(deep, big, volume).peripheral_share == 0.0
    deep[30, 2, 60:70] = 2
    assert measured(deep, big, volume).peripheral_share == pytest.approx(0.5)


def test_small_things_are_volume_but_not_counted() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[10, 20, 22:42] = 1  # 20 voxels, 0.06 ml
    labels[20, 20, 22:50] = 1  # 28 voxels, 0.084 ml
    labels[30, 20:22, 25:42] = 1  # 34 voxels, 0.102 ml
    found = measured(labels)
    assert found.count == 1
    assert found.total_ml == pytest.approx(82 * VOXEL)


def test_no_lesion_no_lung_and_no_voxel_size_are_said_and_not_guessed() -> None:
    healthy = measured(np.zeros(SHAPE, np.uint8))
    assert (healthy.total_ml, healthy.share, healthy.count) == (0.0, 0.0, 0)
    assert healthy.lower_share is None
    assert healthy.peripheral_share is None
    only_right = np.where(chest() == 1, 1, 0).astype(np.uint8)
    labels = np.zeros(SHAPE, np.uint8)
    labels[10:20, 20:30, 30:40] = 1
    one = measured(labels, only_right)
    assert one.left_share is None
    assert one.right_share == one.share
    sizeless = measured(labels, volume=volume_of(spacing_known=False))
    assert sizeless.total_ml is sizeless.right_ground_glass_ml is sizeless.count is sizeless.peripheral_share is None
    assert sizeless.share == pytest.approx(1000 / (2 * 30 * 40 * 30))


def test_masks_of_another_grid_are_refused() -> None:
    small = np.zeros((3, 4, 5), np.uint8)
    with pytest.raises(ParameterError, match="grid"):
        measured(small)
    with pytest.raises(ParameterError, match="grid"):
        measured(np.zeros(SHAPE, np.uint8), small)


def test_the_phantoms_own_lesions_are_measured_by_its_labels(phantom) -> None:
    mask = LesionMask(phantom.lesions, np.zeros(phantom.volume.shape, np.uint8), "given")
    found = measure_lesions(phantom.volume, phantom.lungs, mask)
    voxel = phantom.volume.voxel_milliliters
    for name, label in LESION_LABELS.items():
        for side, lung in (("right", 1), ("left", 2)):
            count = int(((phantom.lesions == label) & (phantom.lungs.array == lung)).sum())
            assert getattr(found, f"{side}_{name.replace('-', '_')}_ml") == pytest.approx(count * voxel)
    assert found.peripheral_share > 0.7, "the pattern lies near the surface"
