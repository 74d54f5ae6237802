"""From a volume to its lesion mask: exact grids, known answers, sides, small things, reasons and bad inputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covid_bert.errors import CancelledError, InputError, ParameterError, WeightsError
from covid_bert.lesions import check_possible, network, require_lesions, segment_lesions, why_not
from covid_bert.lungs.mask import LungMask
from covid_bert.phantom import make
from covid_bert.progress import Progress
from covid_bert.volumes import Unit
from covid_bert.weights.store import live
from lesion_networks import CONSOLIDATION_FROM, GROUND_GLASS_FROM, install_lesion_weights

pytestmark = pytest.mark.usefixtures("small_networks")


def by_hand(hounsfield: np.ndarray, lungs: np.ndarray) -> np.ndarray:
    kind = np.where(hounsfield > CONSOLIDATION_FROM, 2, np.where(hounsfield > GROUND_GLASS_FROM, 1, 0))
    return np.where(lungs > 0, kind, 0)


@pytest.fixture(scope="module")
def on_working_grid():
    """A study whose voxels are the network's own: nothing is resampled."""
    return make(shape=(40, 150, 170), spacing=(2.5, 1.4, 1.4), lesions="covid-like", seed=1)


def test_without_resampling_the_mask_is_the_networks_answer(on_working_grid, lesions_by_density, monkeypatch) -> None:
    monkeypatch.setattr(network, "SMALLEST_MILLILITERS", 0.0)
    study = on_working_grid
    lesions = segment_lesions(study.volume, study.lungs, device="cpu")
    expected = by_hand(study.volume.array, study.lungs.array)
    np.testing.assert_array_equal(lesions.array, expected)
    assert set(np.unique(expected)) == {0, 1, 2}
    assert not lesions.probability[study.lungs.array == 0].any()
    np.testing.assert_array_equal(lesions.probability >= 128, expected > 0)
    assert lesions.array.dtype == lesions.probability.dtype == np.uint8
    assert lesions.weights == live(network.WEIGHTS_NAME).identity


def test_the_network_sees_the_lungs_their_neighbours_and_nothing_else(on_working_grid, lesions_by_density) -> None:
    study = on_working_grid
    segment_lesions(study.volume, study.lungs, device="cpu")
    shown = np.concatenate([batch.numpy() for batch in lesions_by_density.shown])
    slices, rows, columns = np.nonzero(study.lungs.array)
    assert len(shown) == slices.max() - slices.min() + 1
    margin = 6  # 8 mm in pixels of 1.4 mm
    box = tuple(
        slice(max(found.min() - margin, 0), min(found.max() + 1 + margin, size))
        for found, size in zip((rows, columns), study.volume.shape[1:], strict=True)
    )
    height, width = (part.stop - part.start for part in box)
    lowest, middle = slices.min(), len(shown) // 2
    for channel, neighbour in enumerate((-1, 0, 1)):
        seen = (shown[middle, channel, :height, :width] + 1) * 600 - 1000
        plane = study.volume.array[lowest + middle + neighbour][box]
        np.testing.assert_allclose(seen, np.clip(plane, -1000, 200), atol=0.01)
    lung = study.lungs.array[lowest + middle][box] > 0
    np.testing.assert_allclose(shown[middle, 3, :height, :width], lung, atol=1e-6)
    assert (shown[:, :3, height:] == -1).all(), "padding is air"
    assert (shown[:, 3, :, width:] == 0).all(), "padding is no lung"


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((96, 180, 200), (1.0, 1.1, 1.3)), ((30, 110, 120), (5.0, 2.6, 2.9)), ((50, 131, 157), (1.9, 2.1, 1.8))],
)
def test_on_any_grid_lesions_lie_where_they_are(shape, spacing, lesions_by_density) -> None:
    study = make(shape=shape, spacing=spacing, lesions="covid-like", seed=2, noise=0.0, severity=0.9)
    lesions = segment_lesions(study.volume, study.lungs, device="cpu")
    # The truth of a network by density is density, vessels included.
    expected = by_hand(study.volume.array, study.lungs.array) > 0
    found = lesions.array > 0
    assert lesions.array.shape == study.volume.shape
    assert 2 * (expected & found).sum() / (expected.sum() + found.sum()) > 0.8
    drift = [np.abs(a.mean() - b.mean()) for a, b in zip(np.nonzero(expected), np.nonzero(found), strict=True)]
    assert max(drift) < 1.5
    assert (found & (study.lesions > 0)).sum() > 0.75 * (study.lesions > 0).sum()


def test_sides_never_swap(lesions_by_density) -> None:
    for side in (1, 2):
        study = make(shape=(50, 120, 130), spacing=(4.0, 2.2, 2.4), seed=5, noise=0.0)
        array = np.full(study.volume.shape, -870, np.int16)
        lung = study.lungs.array == side
        slices, rows, columns = np.nonzero(lung)
        centre = [int(np.median(found)) for found in (slices, rows, columns)]
        block = np.zeros(array.shape, bool)
        block[tuple(slice(place - 4, place + 4) for place in centre)] = True
        array[block & lung] = -500
        lesions = segment_lesions(replace(study.volume, array=array), study.lungs, device="cpu")
        assert lesions.array.any()
        assert set(np.unique(study.lungs.array[lesions.array > 0])) == {side}


def test_lesions_below_a_twentieth_of_a_millilitre_are_dropped(lesions_by_density) -> None:
    study = make(shape=(40, 150, 170), spacing=(2.5, 1.4, 1.4), seed=1, noise=0.0)
    array = np.where(study.lungs.array > 0, -870, study.volume.array).astype(np.int16)
    places = np.argwhere(study.lungs.array > 0)
    deep = [tuple(place) for place in places[:: len(places) // 40] if _all_lung(study.lungs.array, place)]
    smallest = int(np.ceil(0.05 / study.volume.voxel_milliliters))
    assert smallest == 11
    first, second = deep[1], deep[-2]
    for place, count in ((first, smallest - 1), (second, smallest)):
        array[place[0], place[1], place[2] : place[2] + count] = 0
    lesions = segment_lesions(replace(study.volume, array=array), study.lungs, device="cpu")
    assert not lesions.array[first[0], first[1], first[2] : first[2] + smallest].any()
    assert (lesions.array[second[0], second[1], second[2] : second[2] + smallest] == 2).all()
    assert np.count_nonzero(lesions.array) == smallest
    assert lesions.probability[first[0], first[1], first[2]] == 255, "the probability stays what the network said"


def _all_lung(lungs: np.ndarray, place: np.ndarray) -> bool:
    slice_, row, column = place
    return bool((lungs[slice_, row, column : column + 14] > 0).all() and column + 14 < lungs.shape[2])


def test_the_operating_point_of_the_manifest_decides(on_working_grid, lesions_by_density) -> None:
    study = on_working_grid
    counts = {}
    for threshold in (0.1, 0.5, 0.999):
        install_lesion_weights(threshold=threshold)
        lesions = segment_lesions(study.volume, study.lungs, device="cpu")
        counts[threshold] = np.count_nonzero(lesions.array)
        assert lesions.probability[lesions.array > 0].min() >= np.floor(255 * threshold)
    assert counts[0.1] > counts[0.5] > counts[0.999] > 0


def test_a_real_network_with_installed_weights_runs_and_is_reproducible(phantom) -> None:
    install_lesion_weights()
    first, second = (segment_lesions(phantom.volume, phantom.lungs, device="cpu") for _ in range(2))
    np.testing.assert_array_equal(first.array, second.array)
    np.testing.assert_array_equal(first.probability, second.probability)
    assert not first.probability[phantom.lungs.array == 0].any()
    assert first.probability[phantom.lungs.array > 0].std() > 0
    assert first.weights.demonstration


def test_without_weights_there_is_no_mask_but_a_sentence(phantom) -> None:
    assert segment_lesions(phantom.volume, phantom.lungs, device="cpu") is None
    assert "default-lesions" in why_not(phantom.volume)
    with pytest.raises(WeightsError, match="installed") as caught:
        require_lesions(phantom.volume, phantom.lungs, device="cpu")
    assert caught.value.hint
    install_lesion_weights()
    assert why_not(phantom.volume) is None
    check_possible(phantom.volume)


def test_gray_levels_and_unknown_voxel_sizes_are_said_to_be_no_input(phantom, lesions_by_density) -> None:
    gray = replace(phantom.volume, unit=Unit.GRAY8, array=np.zeros(phantom.volume.shape, np.uint8))
    sizeless = replace(phantom.volume, spacing_known=False)
    for volume, word in ((gray, "Hounsfield"), (sizeless, "voxel size")):
        assert segment_lesions(volume, phantom.lungs, device="cpu") is None
        assert word in why_not(volume)
        with pytest.raises(InputError, match=word):
            check_possible(volume)


def test_bad_inputs_are_refused(phantom, lesions_by_density) -> None:
    other = LungMask(np.ones((3, 4, 5), np.uint8), "given")
    nothing = LungMask(np.zeros(phantom.volume.shape, np.uint8), "given")
    for lungs, word in ((other, "grid"), (nothing, "empty")):
        with pytest.raises(ParameterError, match=word):
            segment_lesions(phantom.volume, lungs, device="cpu")


def test_a_device_that_is_not_there_is_refused(phantom) -> None:
    install_lesion_weights()
    for device in ("abacus", "cuda:99"):
        with pytest.raises(ParameterError, match="device"):
            segment_lesions(phantom.volume, phantom.lungs, device=device)


def test_damaged_weights_are_an_error_and_not_a_reason(phantom) -> None:
    path = install_lesion_weights().path
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="damaged"):
        segment_lesions(phantom.volume, phantom.lungs, device="cpu")


def test_progress_is_told_and_cancel_stops_between_batches(phantom, lesions_by_density) -> None:
    seen: list[float] = []

    def report(stage: str, fraction: float) -> None:
        assert stage == "lesions"
        seen.append(fraction)

    segment_lesions(phantom.volume, phantom.lungs, Progress(report), device="cpu")
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0.0, 1.0)
    assert len(seen) > 10
    batches = len(lesions_by_density.shown)

    def stop(_: str, fraction: float) -> None:
        if fraction > 0.3:
            progress.cancel()

    progress = Progress(stop)
    with pytest.raises(CancelledError):
        segment_lesions(phantom.volume, phantom.lungs, progress, device="cpu")
    assert len(lesions_by_density.shown) < 2 * batches


def test_a_damaged_live_version_is_replaced_by_the_former_one_and_named(phantom) -> None:
    former = install_lesion_weights()
    damaged = install_lesion_weights(threshold=0.4)
    damaged.path.write_bytes(b"nothing")
    lesions = segment_lesions(phantom.volume, phantom.lungs, device="cpu")
    assert lesions.weights == former.identity
    assert len(lesions.warnings) == 1
    assert f"{damaged.version} is damaged" in lesions.warnings[0]
    assert f"{former.version} was used in its place" in lesions.warnings[0]
