"""Lungs of windowed slice images."""

from __future__ import annotations

import numpy as np
import pytest
from chest_models import Chest, dice, make_volume

from covid_bert import phantom
from covid_bert.errors import CancelledError, NotChestError
from covid_bert.lungs import LEFT_LUNG, RIGHT_LUNG, segment_lungs
from covid_bert.lungs.gray_level import body_box, published_dark_share
from covid_bert.progress import Progress
from covid_bert.volumes.volume import Unit, Volume
from covid_bert.volumes.windows import to_gray8


def _gray(array: np.ndarray) -> Volume:
    return make_volume(to_gray8(array), (1.0, 1.0, 1.0), Unit.GRAY8)


def test_chest(chest: Chest) -> None:
    lungs = segment_lungs(_gray(chest.array))
    assert dice(lungs.array == RIGHT_LUNG, chest.right) > 0.93
    assert dice(lungs.array == LEFT_LUNG, chest.left) > 0.93


def test_phantom_with_lesions() -> None:
    made = phantom.make(shape=(24, 256, 256), spacing=(12.0, 1.3, 1.3), seed=1, lesions="covid-like")
    lungs = segment_lungs(_gray(made.volume.array))
    for side in (RIGHT_LUNG, LEFT_LUNG):
        assert dice(lungs.array == side, made.lungs.array == side) > 0.93


def test_single_slice(chest: Chest) -> None:
    index = chest.array.shape[0] // 2
    lungs = segment_lungs(_gray(chest.array[index : index + 1]))
    assert dice(lungs.array[0] == RIGHT_LUNG, chest.right[index]) > 0.93
    assert dice(lungs.array[0] == LEFT_LUNG, chest.left[index]) > 0.93


@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_images_have_no_lungs(level: int) -> None:
    with pytest.raises(NotChestError):
        segment_lungs(make_volume(np.full((3, 64, 64), level, np.uint8), unit=Unit.GRAY8))


def test_body_without_lungs() -> None:
    rows, columns = np.mgrid[:128, :128] - 63.5
    image = np.where(np.hypot(rows, columns) < 50, 200, 15).astype(np.uint8)
    with pytest.raises(NotChestError):
        segment_lungs(make_volume(np.stack([image] * 3), unit=Unit.GRAY8))


def test_cancel(chest: Chest) -> None:
    progress = Progress()
    progress.cancel()
    with pytest.raises(CancelledError):
        segment_lungs(_gray(chest.array), progress=progress)


def _square_body() -> np.ndarray:
    """A body of 60 x 80 pixels, with a hole of 20 x 30, all well inside the image."""
    image = np.zeros((100, 120), np.uint8)
    image[20:80, 20:100] = 200
    image[40:60, 40:70] = 40
    return image


# The body loses three pixels at each edge to the 7 x 7 square, so the hole gains them; the blur rounds off the one
# pixel at each of its corners.
HOLE = 26 * 36 - 4
BOX = 54 * 74


def test_body_box_of_a_rectangle() -> None:
    binary, box = body_box(_square_body())
    assert box == (slice(23, 77), slice(23, 97))
    assert np.count_nonzero(~binary[30:70, 30:80]) == HOLE


def test_published_share_of_a_rectangle() -> None:
    assert published_dark_share(_square_body()[np.newaxis]).tolist() == [round(HOLE / BOX, 6)]


def test_published_share_does_not_count_air_at_the_corners() -> None:
    image = _square_body()
    image[20:30, 20:30] = 0  # a corner of the body is missing: outside air inside the box
    assert published_dark_share(image[np.newaxis]).tolist() == [round(HOLE / BOX, 6)]


def test_published_share_of_black_and_of_one_valued_images() -> None:
    images = np.stack([np.zeros((40, 40), np.uint8), np.full((40, 40), 9, np.uint8)])
    assert published_dark_share(images).tolist() == [0.0, 0.0]


def test_random_images_are_no_lungs() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 256, 256), dtype=np.uint8)
    with pytest.raises(NotChestError):
        segment_lungs(make_volume(images, (1.0, 1.0, 1.0), Unit.GRAY8))
