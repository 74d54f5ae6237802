"""The working grid: nothing drifts on the way there and back, whatever the spacing, size and box."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import ndimage

from covid_bert.errors import ParameterError
from covid_bert.segmentation import WorkingGrid

RADIUS_MM = 16.0
# Spacing (slices, rows, columns), and sizes that no factor divides.
CASES = [
    ((1.0, 0.7, 0.7), (71, 91, 97)),
    ((0.625, 0.9, 0.9), (103, 83, 79)),
    ((2.5, 0.6, 0.8), (31, 101, 85)),
    ((5.0, 0.98, 0.98), (17, 77, 75)),
    ((0.8, 1.5, 1.2), (87, 63, 65)),
    ((3.1, 2.6, 2.4), (29, 41, 43)),
    ((1.3, 0.35, 0.35), (53, 203, 205)),
]


def box_of(shape: tuple[int, int, int], boxed: bool) -> tuple[tuple[int, int], tuple[int, int]]:
    return ((5, shape[1] - 2), (3, shape[2] - 6)) if boxed else ((0, shape[1]), (0, shape[2]))


def round_trip(grid: WorkingGrid, array: np.ndarray) -> np.ndarray:
    (rows, columns), found = (grid.rows, grid.columns), np.zeros(grid.shape, np.float32)
    for part, values in grid.back(grid.forward(array, fill=0.0)[np.newaxis]):
        found[part, slice(*rows), slice(*columns)] = values[0]
    return found


@pytest.mark.parametrize("boxed", [False, True])
@pytest.mark.parametrize(("spacing", "shape"), CASES)
@pytest.mark.parametrize(("pixel", "thickness"), [(2.0, 2.0), (1.3, 4.0)])
def test_a_sphere_stays_where_it_is(spacing, shape, boxed, pixel, thickness) -> None:
    centre = [(size - 1) / 2 + shift for size, shift in zip(shape, (0.3, -1.4, 2.2), strict=True)]
    axes = [(np.arange(size) - middle) * step for size, middle, step in zip(shape, centre, spacing, strict=True)]
    distance = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")))
    sphere = distance <= RADIUS_MM
    grid = WorkingGrid.of(shape, spacing, pixel=pixel, thickness=thickness, box=box_of(shape, boxed))
    found = round_trip(grid, sphere)
    assert np.abs(np.subtract(ndimage.center_of_mass(found > 0.5), ndimage.center_of_mass(sphere))).max() < 0.1
    overlap = 2 * np.count_nonzero((found > 0.5) & sphere) / (np.count_nonzero(found > 0.5) + np.count_nonzero(sphere))
    assert overlap > 0.9


@pytest.mark.parametrize(("spacing", "shape"), CASES)
def test_a_ramp_stays_a_ramp(spacing, shape) -> None:
    grid = WorkingGrid.of(shape, spacing, pixel=2.0, thickness=2.0)
    reach = [int(np.ceil(4.0 / step)) + 1 for step in spacing]
    for axis in range(3):
        ramp = np.broadcast_to(
            np.arange(shape[axis], dtype=np.float32).reshape([-1 if axis == other else 1 for other in range(3)]), shape
        )
        inside = tuple(slice(margin, size - margin) for margin, size in zip(reach, shape, strict=True))
        np.testing.assert_allclose(round_trip(grid, ramp)[inside], ramp[inside], rtol=0, atol=0.06)


def test_slabs_cover_the_volume_once(monkeypatch) -> None:
    monkeypatch.setattr("covid_bert.segmentation.working_grid._CHUNK", 3)
    for slices, step in itertools.product(range(1, 12), (0.5, 0.67, 0.9999, 1.0, 2.0, 3.0)):
        grid = WorkingGrid.of((slices, 20, 20), (step, 1.0, 1.0), pixel=2.0, thickness=2.0)
        assert [index for first, last in grid.slabs for index in range(first, last)] == list(range(slices))
        assert grid.count == len(grid.slabs)
        parts = [part for part, _ in grid.back(grid.forward(np.zeros(grid.shape, np.int16))[np.newaxis])]
        assert [index for part in parts for index in range(part.start, part.stop)] == list(range(slices))
    assert WorkingGrid.of((10, 20, 20), (0.9999, 1, 1), pixel=2, thickness=2).slabs[0] == (0, 2)
    assert WorkingGrid.of((10, 20, 20), (0.67, 1, 1), pixel=2, thickness=2).slabs[-1] == (8, 10)


def test_planes_are_means_and_padded() -> None:
    values = np.random.default_rng(0).integers(-1000, 400, (7, 40, 52)).astype(np.int16)
    grid = WorkingGrid.of(values.shape, (1.0, 2.0, 2.0), pixel=2.0, thickness=3.0, box=((4, 37), (2, 19)))
    assert (grid.size, grid.padded_size, grid.count) == ((33, 17), (48, 32), 3)
    planes = grid.forward(values)
    assert planes.dtype == np.float32
    assert planes.shape == (3, 48, 32)
    np.testing.assert_allclose(planes[1, :33, :17], values[3:6, 4:37, 2:19].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(planes[2, :33, :17], values[6, 4:37, 2:19])
    assert (planes[:, 33:] == -1024.0).all()
    assert (planes[:, :, 17:] == -1024.0).all()
    assert (grid.forward(values, fill=7.0)[:, 33:] == 7.0).all()


def test_fine_detail_is_averaged_not_sampled() -> None:
    stripes = np.tile(np.array([-800.0, 0.0], np.float32), (4, 96, 48))
    grid = WorkingGrid.of(stripes.shape, (2.0, 0.5, 0.5), pixel=2.0, thickness=2.0)
    planes = grid.forward(stripes)[:, 2:-2, 2:-2][:, :20, :20]
    assert np.abs(planes + 400.0).max() < 30.0


def test_probabilities_keep_their_sum() -> None:
    grid = WorkingGrid.of((9, 61, 67), (1.25, 0.8, 0.8), pixel=2.0, thickness=3.0)
    logits = np.random.default_rng(1).random((3, grid.count, *grid.padded_size)).astype(np.float32)
    for _, values in grid.back(logits / logits.sum(axis=0)):
        np.testing.assert_allclose(values.sum(axis=0), 1.0, atol=1e-5)
        assert values.shape[2:] == (61, 67)


def test_one_voxel_is_a_volume() -> None:
    grid = WorkingGrid.of((1, 1, 1), (1.0, 1.0, 1.0), pixel=2.0, thickness=2.0)
    assert grid.padded_size == (16, 16)
    assert round_trip(grid, np.full((1, 1, 1), 5, np.int16))[0, 0, 0] == 5


@pytest.mark.parametrize(
    "changes",
    [
        {"pixel": 0.0},
        {"thickness": float("nan")},
        {"spacing": (0.0, 1.0, 1.0)},
        {"spacing": (1.0, float("inf"), 1.0)},
        {"shape": (0, 20, 20)},
        {"box": ((0, 21), (0, 20))},
        {"box": ((-1, 10), (0, 20))},
        {"box": ((5, 5), (0, 20))},
    ],
)
def test_impossible_grids_are_refused(changes) -> None:
    wanted = {"shape": (4, 20, 20), "spacing": (1.0, 1.0, 1.0), "pixel": 2.0, "thickness": 2.0} | changes
    with pytest.raises(ParameterError):
        WorkingGrid.of(wanted.pop("shape"), wanted.pop("spacing"), **wanted)


def test_arrays_of_another_grid_are_refused() -> None:
    grid = WorkingGrid.of((4, 20, 20), (1.0, 1.0, 1.0), pixel=2.0, thickness=2.0)
    with pytest.raises(ParameterError):
        grid.forward(np.zeros((4, 20, 21), np.int16))
    for shape in ((2, 16, 16), (1, 3, 16, 16), (1, 2, 16, 10)):
        with pytest.raises(ParameterError):
            next(grid.back(np.zeros(shape, np.float32)))
