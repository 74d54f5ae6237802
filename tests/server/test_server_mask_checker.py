"""Masks are decoded beside the server: what ends that process, or stops it, is a refusal and no more."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import nibabel
import numpy as np
import pytest

from covid_bert.errors import (
    CovidBertError,
    GeometryError,
    InvalidValuesError,
    NotReadyError,
    TooLargeError,
    TooLongError,
)
from covid_bert.server import reader
from covid_bert.server.mask_checker import MaskChecker
from covid_bert.workers import MakeCompute, Worker

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals")
SHAPE = (12, 10, 8)


def write(path: Path, shape: tuple[int, ...] = SHAPE, *, of: tuple[int, int] = (0, 1)) -> Path:
    values = np.random.default_rng(0).integers(*of, shape, np.int16, endpoint=True)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1.0, 1.0, 2.0, 1.0])), path)
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write(tmp_path / "image.nii.gz", of=(-1000, 300))


@pytest.fixture
def checker():
    made = MaskChecker(10**6)
    yield made
    made.close()


def test_a_mask_is_decoded_in_another_process(checker: MaskChecker, image: Path, tmp_path: Path) -> None:
    assert checker.pid is None
    checker.check(write(tmp_path / "mask.nii.gz"), image)
    assert checker.pid not in (None, os.getpid())


def test_that_process_gives_a_mask_our_own_labels(checker: MaskChecker, image: Path, tmp_path: Path) -> None:
    mask = write(tmp_path / "mask.nii.gz", of=(0, 2))
    before = np.asanyarray(nibabel.load(mask).dataobj)
    checker.check(mask, image, {1: 2, 2: 1})
    assert np.array_equal(np.asanyarray(nibabel.load(mask).dataobj), np.array([0, 2, 1])[before])
    with pytest.raises(InvalidValuesError, match="other structures"):
        checker.check(mask, image, {1: 2})


def test_what_is_wrong_with_a_mask_is_said_as_without_a_process(
    checker: MaskChecker, image: Path, tmp_path: Path
) -> None:
    with pytest.raises(GeometryError, match="another size") as caught:
        checker.check(write(tmp_path / "mask.nii.gz", (4, 4, 4)), image)
    assert caught.value.hint


def test_the_end_of_the_process_refuses_one_mask(checker: MaskChecker, image: Path, tmp_path: Path) -> None:
    mask = write(tmp_path / "mask.nii.gz")
    checker.check(mask, image)
    first = checker.pid
    assert first is not None
    # As a decoder that waits, and is then ended by the system.
    os.kill(first, signal.SIGSTOP)
    killer = threading.Timer(0.5, os.kill, (first, signal.SIGKILL))
    killer.start()
    with pytest.raises(CovidBertError, match="ended while it read"):
        checker.check(mask, image)
    checker.check(mask, image)
    assert checker.pid != first


def test_a_check_without_an_end_is_given_up(image: Path, tmp_path: Path) -> None:
    mask = write(tmp_path / "mask.nii.gz")
    checker = MaskChecker(10**6, most_seconds=0.0)
    with pytest.raises(TooLongError):
        checker.check(mask, image)
    assert checker.pid is None


def test_the_limit_of_voxels_holds_there_too(image: Path, tmp_path: Path) -> None:
    checker = MaskChecker(12 * 10 * 8 - 1)
    try:
        with pytest.raises(TooLargeError):
            checker.check(write(tmp_path / "mask.nii.gz"), image)
    finally:
        checker.close()


def test_after_the_server_has_stopped_no_process_is_started(image: Path, tmp_path: Path) -> None:
    checker = MaskChecker(10**6)
    checker.close()
    with pytest.raises(NotReadyError):
        checker.check(write(tmp_path / "mask.nii.gz"), image)
    assert checker.pid is None


def test_a_process_that_is_being_started_while_the_server_stops_ends_too(
    checker: MaskChecker, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Worker] = []

    def start(make: MakeCompute) -> Worker:
        made.append(Worker(make))
        checker.close()
        return made[0]

    monkeypatch.setattr(reader, "Worker", start)
    with pytest.raises(NotReadyError):
        checker.check(write(tmp_path / "mask.nii.gz"), image)
    assert not made[0].alive
    assert checker.pid is None
