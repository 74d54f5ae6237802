"""Lung volume and density on masks that are known exactly."""

from __future__ import annotations

import numpy as np
import pytest
from chest_models import make_volume

from covid_bert.errors import ParameterError
from covid_bert.lungs import HU_CLASSES, LungMask, measure_lungs
from covid_bert.volumes.volume import Unit


def _mask(array: np.ndarray) -> LungMask:
    return LungMask(array.astype(np.uint8), "given")


def test_volume_and_density_by_side() -> None:
    values = np.full((4, 10, 10), 40, np.int16)
    labels = np.zeros(values.shape, np.uint8)
    labels[1, :5, :8] = 1  # 40 voxels
    labels[2, :5, :4] = 2  # 20 voxels
    values[labels == 1] = -800
    values[labels == 2] = np.tile([-960, -900, -500, -100], 5)
    measured = measure_lungs(make_volume(values, (5.0, 2.0, 2.0)), _mask(labels))
    assert measured.right_ml == pytest.approx(40 * 0.02)
    assert measured.left_ml == pytest.approx(20 * 0.02)
    assert measured.total_ml == pytest.approx(60 * 0.02)
    assert measured.right_mean_hu == pytest.approx(-800)
    assert measured.left_mean_hu == pytest.approx(-615)
    assert measured.mean_hu == pytest.approx((40 * -800 + 20 * -615) / 60)
    assert measured.right_share_by_hu_class == {
        "hyperaerated": 0.0,
        "normally_aerated": 1.0,
        "poorly_aerated": 0.0,
        "non_aerated": 0.0,
    }
    # Each limit belongs to the denser class.
    assert measured.left_share_by_hu_class == dict.fromkeys(HU_CLASSES, 0.25)
    assert measured.left_low_attenuation_share == 0.25
    assert measured.right_low_attenuation_share == 0.0


def test_sphere() -> None:
    z, y, x = np.mgrid[:60, :60, :60] - 29.5
    spacing = (1.5, 0.75, 0.75)
    sphere = (z * 1.5) ** 2 + (y * 0.75) ** 2 + (x * 0.75) ** 2 <= 20.0**2
    measured = measure_lungs(make_volume(np.full(sphere.shape, -850, np.int16), spacing), _mask(sphere))
    assert measured.right_ml == pytest.approx(4 / 3 * np.pi * 2.0**3, rel=0.01)
    assert measured.left_ml == 0.0
    assert measured.left_mean_hu is None
    assert measured.left_share_by_hu_class is None


def test_oblique_voxels_keep_their_volume() -> None:
    volume = make_volume(np.full((2, 3, 4), -800, np.int16), (2.0, 1.0, 1.0))
    volume.affine.flags.writeable = True
    volume.affine[:3, 2] = [0.5, 0.5, 2.0]  # a gantry tilt: higher along z, no larger
    assert measure_lungs(volume, _mask(np.ones(volume.shape))).total_ml == pytest.approx(24 * 0.002)


def test_gray_levels_have_neither_ml_nor_hounsfield() -> None:
    volume = make_volume(np.full((2, 4, 4), 40, np.uint8), (1.0, 1.0, 1.0), Unit.GRAY8)
    measured = measure_lungs(volume, _mask(np.ones(volume.shape)))
    assert all(value is None for value in vars(measured).values())


def test_empty_mask() -> None:
    volume = make_volume(np.zeros((2, 4, 4), np.int16))
    measured = measure_lungs(volume, _mask(np.zeros(volume.shape)))
    assert measured.total_ml == 0.0
    assert measured.mean_hu is None


def test_mask_of_another_grid() -> None:
    with pytest.raises(ParameterError):
        measure_lungs(make_volume(np.zeros((2, 4, 4), np.int16)), _mask(np.zeros((2, 4, 5))))
