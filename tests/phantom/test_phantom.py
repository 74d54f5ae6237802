"""The phantom is an exact, reproducible, grid-independent chest."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from covid_bert.errors import ParameterError
from covid_bert.lesions import LESION_LABELS
from covid_bert.phantom import PATTERNS, make
from covid_bert.phantom.anatomy import Anatomy
from covid_bert.volumes.orientation import to_native
from covid_bert.volumes.volume import Unit


@pytest.fixture(scope="module")
def clean():
    return make(seed=4)


@pytest.fixture(scope="module")
def sick():
    return make(seed=4, lesions="covid-like", severity=0.7)


def milliliters(mask, phantom):
    return float(np.count_nonzero(mask)) * phantom.volume.voxel_milliliters


def test_volume_is_canonical_ct(clean):
    volume = clean.volume
    assert volume.shape == (64, 128, 128)
    assert volume.array.dtype == np.int16
    assert volume.unit is Unit.HOUNSFIELD
    assert volume.spacing == pytest.approx((5.0, 2.5, 2.5))
    # Column, row and slice index point to the left, the back and the head (RAS: -x, -y, +z).
    assert np.allclose(volume.affine[:3, :3], np.diag([-2.5, -2.5, 5.0]))
    assert volume.array.min() >= -1024


@pytest.mark.parametrize("seed", range(6))
def test_anatomy_is_that_of_an_adult(seed):
    phantom = make(seed=seed)
    lungs, values = phantom.lungs.array, phantom.volume.array
    right, left = (milliliters(lungs == label, phantom) for label in (1, 2))
    assert 1500 < left < right < 3500
    columns = [np.argwhere(lungs == label)[:, 2].mean() for label in (1, 2)]
    assert columns[0] < 64 < columns[1]
    # The right diaphragm stands higher; domes are seen as the lowest lung voxel of the middle of each lung.
    middle = [round(column) for column in columns]
    lowest = [np.flatnonzero((lungs[:, 55:68, column] > 0).any(axis=1)).min() for column in middle]
    assert lowest[0] > lowest[1]
    assert -870 < np.median(values[lungs > 0]) < -780
    assert 15 < milliliters(phantom.airways, phantom) < 150
    assert 40 < milliliters(phantom.vessels, phantom) < 400
    assert (phantom.vessels & (lungs == 0)).sum() == 0
    assert np.median(values[phantom.airways]) < -800
    assert (values > 300).mean() > 0.005
    assert values[:, :5].mean() < -950
    assert not phantom.lesions.any()


def test_trachea_is_one_dark_tube_outside_the_lungs(clean):
    slice_ = clean.airways[48] & (clean.lungs.array[48] == 0)
    rows, columns = np.nonzero(slice_)
    assert np.ptp(rows) * 2.5 < 25
    assert abs(columns.mean() - 64) < 4


def test_same_seed_is_same_image_and_other_seed_is_not(clean):
    again = make(seed=4)
    assert again.volume.identifier == clean.volume.identifier
    assert np.array_equal(again.lungs.array, clean.lungs.array)
    assert make(seed=5).volume.identifier != clean.volume.identifier


def test_anatomy_does_not_depend_on_the_grid(clean, sick):
    fine = make(shape=(128, 192, 192), spacing=(2.5, 5 / 3, 5 / 3), seed=4, lesions="covid-like", severity=0.7)
    for label in (1, 2):
        volume = milliliters(clean.lungs.array == label, clean)
        assert milliliters(fine.lungs.array == label, fine) == pytest.approx(volume, rel=0.02)
    assert milliliters(fine.lesions, fine) == pytest.approx(milliliters(sick.lesions, sick), rel=0.1)
    small = make(shape=(40, 128, 128), seed=4, center=(0.0, 0.0, -60.0))
    assert np.array_equal(small.lungs.array, clean.lungs.array[:40])


def test_noise_has_the_stated_strength():
    quiet, noisy = (make(shape=(6, 256, 256), spacing=(5.0, 1.0, 1.0), noise=value) for value in (0.0, 25.0))
    muscle = (quiet.volume.array > 30) & (quiet.volume.array < 80)
    difference = noisy.volume.array.astype(float) - quiet.volume.array
    assert difference[muscle].std() == pytest.approx(25.0, rel=0.05)
    rows = difference[:, 100:150, 100:150]
    neighbours = np.corrcoef(rows[..., 1:].ravel(), rows[..., :-1].ravel())[0, 1]
    slices = np.corrcoef(rows[1:].ravel(), rows[:-1].ravel())[0, 1]
    assert neighbours > 0.2 > abs(slices) + 0.1


def test_covid_like_lesions(clean, sick):
    lesions, lungs = sick.lesions, sick.lungs.array
    assert np.array_equal(lungs, clean.lungs.array)
    assert (lesions[lungs == 0] == 0).all()
    assert set(np.unique(lesions)) == {0, *LESION_LABELS.values()}
    for label in (1, 2):
        share = np.count_nonzero(lesions[lungs == label]) / np.count_nonzero(lungs == label)
        assert 0.01 < share < 0.4
    tissue = ~sick.airways & ~sick.vessels
    values = sick.volume.array
    assert -720 < np.median(values[(lesions == 1) & tissue]) < -400
    assert -60 < np.median(values[(lesions == 2) & tissue]) < 60
    # Where there is no lesion near, nothing changed but by noise, which is the same.
    far = (values == clean.volume.array).mean()
    assert far > 0.97
    # The back of the lungs is affected more than the front.
    rows = np.argwhere(lesions)[:, 1].mean()
    assert rows > np.argwhere(lungs)[:, 1].mean()


def test_vessels_show_through_ground_glass(sick):
    glass = (sick.lesions == 1) & ~sick.airways
    values = sick.volume.array
    assert np.median(values[glass & sick.vessels]) > np.median(values[glass & ~sick.vessels]) + 60


def test_patterns_differ():
    found = {name: make(seed=2, lesions=name) for name in PATTERNS}
    assert not found["none"].lesions.any()
    assert set(np.unique(found["ground-glass"].lesions)) == {0, 1}
    lobar = found["lobar-pneumonia"]
    sides = set(np.unique(lobar.lungs.array[lobar.lesions > 0]))
    assert len(sides) == 1
    assert np.count_nonzero(lobar.lesions == 2) > np.count_nonzero(lobar.lesions == 1)
    assert (lobar.airways & (lobar.lesions == 2)).any()


def test_severity_grows_the_lesions():
    volumes = [
        np.mean([np.count_nonzero(make(seed=seed, lesions="ground-glass", severity=value).lesions) for seed in (0, 1)])
        for value in (0.1, 0.5, 1.0)
    ]
    assert volumes[0] < volumes[1] < volumes[2]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3)))[::2])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1)])
def test_any_direction_shows_the_same_person(order, signs):
    direction = np.zeros((3, 3))
    for axis, (target, sign) in enumerate(zip(order, signs, strict=True)):
        direction[target, axis] = sign
    # Extents of the canonical axes (slices, rows, columns), brought to the file's axes (k, j, i).
    counts, steps = np.array([96, 80, 40]), np.array([3.0, 3.5, 7.0])
    native = [order[axis] for axis in (2, 1, 0)]
    phantom = make(shape=tuple(counts[native]), spacing=tuple(steps[native]), direction=direction, seed=1)
    reference = make(shape=(40, 80, 96), spacing=(7.0, 3.5, 3.0), seed=1)
    assert np.array_equal(phantom.lungs.array, reference.lungs.array)
    assert np.allclose(phantom.volume.affine, reference.volume.affine)
    assert to_native(phantom.volume.array, phantom.volume.native).shape == phantom.volume.native.shape


def test_oblique_direction_turns_the_grid_not_the_person():
    angle = np.deg2rad(12)
    direction = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    straight, turned = make(seed=3), make(seed=3, direction=direction)
    assert milliliters(turned.lungs.array == 1, turned) == pytest.approx(
        milliliters(straight.lungs.array == 1, straight), rel=0.02
    )
    means = []
    for phantom in (straight, turned):
        index = np.argwhere(phantom.lungs.array == 1).mean(axis=0)[::-1]
        means.append(phantom.volume.affine @ [*index, 1])
    assert np.allclose(means[0], means[1], atol=1.5)


def test_mask_agrees_with_the_image_edge():
    phantom = make(shape=(20, 300, 300), spacing=(1.0, 1.0, 1.0), seed=0, noise=0.0)
    dark = phantom.volume.array < -500
    inside = phantom.lungs.array > 0
    solid = phantom.vessels | phantom.airways
    assert (dark[inside & ~solid]).mean() > 0.97
    body = phantom.volume.array[:, 120:180, 40:260]
    assert (inside[:, 120:180, 40:260][body < -600]).mean() > 0.97


@pytest.mark.parametrize(
    "parameters",
    [
        {"lesions": "measles"},
        {"lesions": "covid-like", "severity": 0.0},
        {"severity": 1.5},
        {"spacing": (0.0, 1.0, 1.0)},
        {"shape": (0, 10, 10)},
        {"direction": np.ones((3, 3))},
        {"direction": np.eye(2)},
        {"noise": -1.0},
    ],
)
def test_impossible_parameters(parameters):
    with pytest.raises(ParameterError) as caught:
        make(**parameters)
    assert caught.value.hint


def test_people_differ_in_size():
    people = [Anatomy.draw(np.random.default_rng([seed, 0])) for seed in range(20)]
    assert len({person.half_width for person in people}) == 20
    assert all(person.left_dome < person.right_dome for person in people)


@pytest.mark.slow
def test_full_size_slices():
    phantom = make(shape=(100, 512, 512), spacing=(3.0, 0.7, 0.7), seed=0, lesions="covid-like")
    assert phantom.volume.shape == (100, 512, 512)
    assert phantom.lesions.any()
