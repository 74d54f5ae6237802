"""Morphological lungs on synthetic chests."""

from __future__ import annotations

import numpy as np
import pytest
from chest_models import Chest, ChestGrid, dice, make_chest, make_volume

from covid_bert import phantom
from covid_bert.errors import CancelledError, NotChestError, ParameterError
from covid_bert.lungs import LEFT_LUNG, RIGHT_LUNG, measure_lungs, segment_lungs
from covid_bert.progress import Progress


def test_both_lungs_with_their_sides(chest: Chest) -> None:
    lungs = segment_lungs(chest.volume)
    assert lungs.array.dtype == np.uint8
    assert lungs.array.shape == chest.array.shape
    assert dice(lungs.array == RIGHT_LUNG, chest.right) > 0.97
    assert dice(lungs.array == LEFT_LUNG, chest.left) > 0.97
    assert lungs.warnings == ()


def test_volume_is_not_written_to(chest: Chest) -> None:
    before = chest.array.copy()
    volume = chest.volume
    segment_lungs(volume)
    np.testing.assert_array_equal(volume.array, before)


def test_trachea_is_left_out(chest: Chest) -> None:
    lungs = segment_lungs(chest.volume)
    assert not (lungs.array[chest.trachea] > 0).any()


@pytest.mark.parametrize("gap", [-8.0, 0.0, 3.0])
def test_touching_lungs_are_told_apart(gap: float) -> None:
    chest = make_chest(lung_gap=gap)
    chest = chest.painted(chest.trachea, 40)
    lungs = segment_lungs(chest.volume)
    middle = (chest.array.shape[2] - 1) / 2
    columns = np.arange(chest.array.shape[2])
    reach = 10.0 / chest.grid.spacing[2]
    assert not (lungs.array[:, :, columns > middle + reach] == RIGHT_LUNG).any()
    assert not (lungs.array[:, :, columns < middle - reach] == LEFT_LUNG).any()
    assert dice(lungs.array > 0, chest.right | chest.left) > 0.97


def test_stomach_gas_below_the_diaphragm_is_left_out(chest: Chest) -> None:
    grid = chest.grid
    gas = grid.ellipsoid((-85, -30, 75), (22, 22, 26)) & ~chest.left
    with_gas = chest.painted(grid.ellipsoid((-85, -30, 75), (26, 26, 30)) & ~chest.left, 20).painted(gas, -1000)
    lungs = segment_lungs(with_gas.volume)
    assert (lungs.array[gas] > 0).mean() < 0.02
    assert dice(lungs.array == LEFT_LUNG, chest.left) > 0.96


@pytest.mark.parametrize(
    ("name", "center", "radius", "hounsfield", "least"),
    [
        ("ground-glass at the pleura", (0, 70, 70), 30, -550, 0.97),
        ("nodule inside", (10, 0, -70), 12, 50, 1.0),
        ("nodule at the pleura", (0, 0, 118), 9, 50, 0.85),
        ("vessel with contrast medium", (-20, 10, -60), 7, 350, 1.0),
    ],
)
def test_lesions_inside_are_kept(
    chest: Chest,
    name: str,
    center: tuple[float, float, float],
    radius: float,
    hounsfield: float,
    least: float,
) -> None:
    lesion = chest.grid.ball(center, radius) & (chest.right | chest.left)
    lungs = segment_lungs(chest.painted(lesion, hounsfield).volume)
    assert lesion.any(), name
    assert (lungs.array[lesion] > 0).mean() >= least, name


def test_heart_is_not_taken_in(chest: Chest) -> None:
    heart = chest.grid.ellipsoid((-20, -20, 15), (40, 45, 50))
    with_heart = chest.painted(heart, 40)
    lungs = segment_lungs(with_heart.volume)
    # The angle between heart and lung is closed by a 10 mm ball, no more.
    assert (lungs.array[heart] > 0).mean() < 0.03


@pytest.mark.parametrize("thickness", [0.8, 5.0, 8.0, 10.0])
def test_slice_thickness(thickness: float) -> None:
    chest = make_chest((thickness, 2.5, 2.5))
    lungs = segment_lungs(chest.volume)
    assert dice(lungs.array == RIGHT_LUNG, chest.right) > 0.965
    assert dice(lungs.array == LEFT_LUNG, chest.left) > 0.965


def test_in_plane_resolution_changes_volume_little() -> None:
    milliliters = []
    for step in (1.0, 1.8, 3.0):
        volume = make_chest((3.0, step, step)).volume
        milliliters.append(measure_lungs(volume, segment_lungs(volume)).total_ml)
    assert max(milliliters) / min(milliliters) < 1.03


def test_float_values_and_padding_outside_the_field_of_view(chest: Chest) -> None:
    array = chest.array.astype(np.float32)
    outside = np.broadcast_to(np.hypot(chest.grid.y, chest.grid.x) > 150, array.shape)
    array[outside] = -2048
    lungs = segment_lungs(make_volume(array, chest.grid.spacing))
    assert dice(lungs.array > 0, chest.right | chest.left) > 0.97


def test_lung_cut_by_the_image_border(chest: Chest) -> None:
    half = slice(0, chest.array.shape[2] // 2 - 18)  # through the medial part of the right lung
    lungs = segment_lungs(make_volume(chest.array[:, :, half], chest.grid.spacing))
    assert dice(lungs.array > 0, chest.right[:, :, half]) > 0.96


def test_table_and_gap_below_the_patient_are_not_lung(chest: Chest) -> None:
    table = np.abs(chest.grid.y - 115) < 3
    with_table = chest.painted(np.broadcast_to(table, chest.array.shape), 60)
    lungs = segment_lungs(with_table.volume)
    assert dice(lungs.array > 0, chest.right | chest.left) > 0.97


@pytest.mark.parametrize(("missing", "kept"), [("right", LEFT_LUNG), ("left", RIGHT_LUNG)])
def test_one_missing_lung_is_warned_of(chest: Chest, missing: str, kept: int) -> None:
    lungs = segment_lungs(chest.painted(getattr(chest, missing), 30).volume)
    assert set(np.unique(lungs.array)) == {0, kept}
    assert any(f"{missing} lung is without air" in warning for warning in lungs.warnings)


def test_volume_that_ends_in_the_lungs_is_warned_of(chest: Chest) -> None:
    lungs = segment_lungs(make_volume(chest.array[30:], chest.grid.spacing))
    assert any("cut off below" in warning for warning in lungs.warnings)


def test_bulla_belongs_to_the_lung(chest: Chest) -> None:
    bulla = chest.grid.ball((20, 0, -75), 20)
    lungs = segment_lungs(chest.painted(bulla, -995).volume)
    assert (lungs.array[bulla] == RIGHT_LUNG).mean() > 0.98


def _head() -> np.ndarray:
    grid = ChestGrid()
    array = np.where(grid.ellipsoid((0, 0, 0), (1000, 95, 75)), 40, -1000)
    array[grid.ellipsoid((0, -50, 0), (18, 12, 18))] = -980
    return array.astype(np.int16)


def _water() -> np.ndarray:
    return np.where(ChestGrid().ellipsoid((0, 0, 0), (1000, 100, 100)), 0, -1000).astype(np.int16)


def _small_lungs() -> np.ndarray:
    grid = ChestGrid()
    array = np.where(grid.ellipsoid((0, 0, 0), (1000, 105, 155)), 40, -1000)
    array[grid.ball((0, 0, -60), 25) | grid.ball((0, 0, 60), 25)] = -850
    return array.astype(np.int16)


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(_head(), id="head"),
        pytest.param(_water(), id="water phantom"),
        pytest.param(_small_lungs(), id="130 ml"),
        pytest.param(np.full((40, 80, 80), -1000, np.int16), id="air"),
        pytest.param(np.zeros((40, 80, 80), np.int16), id="zeros"),
        pytest.param(np.full((1, 64, 64), 40, np.int16), id="one slice of tissue"),
    ],
)
def test_no_lungs(array: np.ndarray) -> None:
    with pytest.raises(NotChestError) as caught:
        segment_lungs(make_volume(array, (3.0, 2.5, 2.5)))
    assert caught.value.hint


def test_progress_rises_to_one_and_cancels(chest: Chest) -> None:
    seen: list[tuple[str, float]] = []
    segment_lungs(chest.volume, progress=Progress(lambda stage, fraction: seen.append((stage, fraction))))
    fractions = [fraction for _, fraction in seen]
    assert {stage for stage, _ in seen} == {"lungs"}
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0

    for stop_at in (0.0, 0.4, 0.9):
        progress = Progress()

        def report(_stage: str, fraction: float, progress: Progress = progress, limit: float = stop_at) -> None:
            if fraction >= limit:
                progress.cancel()

        progress.report = report
        with pytest.raises(CancelledError):
            segment_lungs(chest.volume, progress=progress)


def test_unknown_method(chest: Chest) -> None:
    with pytest.raises(ParameterError, match="no lung method 'magic'"):
        segment_lungs(chest.volume, "magic")


@pytest.mark.parametrize(
    ("seed", "lesions", "least"), [(0, "none", 0.98), (1, "covid-like", 0.97), (3, "ground-glass", 0.97)]
)
def test_phantom(seed: int, lesions: str, least: float) -> None:
    made = phantom.make(seed=seed, lesions=lesions)
    lungs = segment_lungs(made.volume)
    for side in (RIGHT_LUNG, LEFT_LUNG):
        assert dice(lungs.array == side, made.lungs.array == side) > least
    ground_glass = made.lesions == 1
    if ground_glass.any():
        assert (lungs.array[ground_glass] > 0).mean() > 0.95


@pytest.mark.parametrize(
    "direction",
    [
        pytest.param(np.diag([-1, 1, 1]), id="columns to the patient's right"),
        pytest.param(np.diag([1, 1, -1]), id="head to foot"),
        pytest.param(np.diag([-1, -1, 1]), id="prone file order"),
        pytest.param(np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]]), id="sagittal file"),
    ],
)
def test_sides_do_not_depend_on_the_order_in_the_file(direction: np.ndarray) -> None:
    shape, spacing = ((96, 96, 96), (3.4, 3.4, 3.4))
    made = phantom.make(shape=shape, spacing=spacing, direction=direction, seed=2)
    lungs = segment_lungs(made.volume)
    for side in (RIGHT_LUNG, LEFT_LUNG):
        assert dice(lungs.array == side, made.lungs.array == side) > 0.97


def test_noise_of_lung_density_is_no_lung() -> None:
    rng = np.random.default_rng(0)
    array = rng.normal(-300, 400, (60, 128, 128)).astype(np.int16)
    with pytest.raises(NotChestError):
        segment_lungs(make_volume(array, (4.0, 2.5, 2.5)))


def test_noisy_scans_are_still_lungs() -> None:
    sick = phantom.make(shape=(60, 120, 120), spacing=(5.0, 3.0, 3.0), noise=90.0)
    assert segment_lungs(sick.volume).array.any()
