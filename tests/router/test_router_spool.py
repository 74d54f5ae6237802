"""The spool folder: nothing half written, nothing twice, nothing lost in a kill, nothing kept for ever."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pydicom
import pytest
from dicom_maker import setting
from router_maker import key_of, make_study, put_all
from volume_maker import PATIENT_ID, PATIENT_NAME

from covid_bert.errors import BusyError, OutputError, UnreadableFileError
from covid_bert.router.queue_list import State
from covid_bert.router.spool import Spool, identify


@pytest.fixture
def spool(tmp_path: Path):
    spool = Spool(tmp_path / "spool", reserve_bytes=1)
    spool.own()
    yield spool
    spool.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_study(tmp_path_factory.mktemp("study"))


def test_files_of_a_study_lie_together_without_its_identifiers(spool: Spool, files: list[Path]) -> None:
    key = put_all(spool, files)
    kept = list(spool.study(key).iterdir())
    assert len(kept) == len(files)
    dataset = pydicom.dcmread(files[0])
    names = " ".join(str(path.relative_to(spool.folder)) for path in spool.folder.rglob("*"))
    content = b"".join(path.read_bytes() for path in spool.folder.glob("*.sqlite*"))
    for secret in (dataset.StudyInstanceUID, dataset.SOPInstanceUID, PATIENT_ID, PATIENT_NAME):
        assert secret not in names
        assert secret.encode() not in content
    assert all(path.stat().st_mode & 0o077 == 0 for path in (spool.folder, spool.studies, spool.incoming))


def test_the_same_object_twice_is_one_file_but_a_different_one_with_its_name_is_kept(
    spool: Spool, files: list[Path], tmp_path: Path
) -> None:
    key = put_all(spool, files)
    assert not spool.put(files[0], identify(files[0]), "receiver", keep=True, transfer=False)
    changed = pydicom.dcmread(files[0])
    changed.PixelData = bytes(len(changed.PixelData))
    changed.save_as(tmp_path / "changed.dcm")
    assert spool.put(tmp_path / "changed.dcm", identify(files[0]), "receiver", keep=True, transfer=False)
    assert len(list(spool.study(key).iterdir())) == spool.queue.find(key).files == len(files) + 1


def test_a_moved_file_is_gone_and_a_copied_one_is_not(spool: Spool, files: list[Path], tmp_path: Path) -> None:
    moved = tmp_path / "moved.dcm"
    moved.write_bytes(files[0].read_bytes())
    spool.put(moved, identify(moved), "receiver", keep=False, transfer=False)
    spool.put(files[1], identify(files[1]), "folder", keep=True, transfer=False)
    assert not moved.exists()
    assert files[1].exists()


def test_a_full_disk_takes_nothing(tmp_path: Path, files: list[Path]) -> None:
    spool = Spool(tmp_path / "spool", reserve_bytes=2**62)
    with pytest.raises(OutputError, match="full"):
        put_all(spool, files)
    assert spool.queue.studies() == []
    assert list(spool.studies.iterdir()) == []
    spool.close()


def test_one_router_only(spool: Spool) -> None:
    other = Spool(spool.folder, reserve_bytes=1)
    with pytest.raises(BusyError):
        other.own()


def test_after_a_kill_halves_are_gone_and_files_that_were_not_noted_are(tmp_path: Path, files: list[Path]) -> None:
    spool = Spool(tmp_path / "spool", reserve_bytes=1)
    key = put_all(spool, files[:3])
    (spool.incoming / "tmpabc.dcm").write_bytes(b"half")
    (spool.study(key) / f".{'0' * 32}.dcm").write_bytes(b"half")
    (spool.working / key).mkdir()
    (spool.study(key) / "not-noted.dcm").write_bytes(files[3].read_bytes())
    spool.close()
    again = Spool(tmp_path / "spool", reserve_bytes=1)
    again.own()
    assert again.queue.find(key).files == 4
    assert not list(again.incoming.iterdir())
    assert not list(again.working.iterdir())
    assert all(path.suffix == ".dcm" and not path.name.startswith(".") for path in again.study(key).iterdir())
    again.close()


def _done(spool: Spool, key: str) -> None:
    spool.queue.end_transfer([key])
    spool.queue.settle(time.time(), quiet=0, patience=1e6)
    spool.queue.claim(time.time())
    spool.queue.classified(key, "answer", time.time())
    spool.queue.sent(key, time.time())


def test_old_files_are_removed_and_a_study_that_comes_again_with_more_is_whole(spool: Spool, files: list[Path]) -> None:
    key = put_all(spool, files[:-1])
    _done(spool, key)
    spool.tidy(time.time() + 10, keep=5, keep_aside=5, forget=1e6)
    assert not spool.study(key).exists()
    # The whole study comes again: what was known before is no reason to compute, but is needed beside the new file.
    put_all(spool, files[:-1])
    assert spool.queue.find(key).state is State.DONE
    put_all(spool, files[-1:])
    assert spool.queue.find(key).state is State.RECEIVING
    assert len(list(spool.study(key).iterdir())) == len(files)


def test_old_studies_are_forgotten(spool: Spool, files: list[Path]) -> None:
    key = put_all(spool, files)
    _done(spool, key)
    spool.tidy(time.time() + 10, keep=5, keep_aside=5, forget=5)
    assert spool.queue.studies() == []


def test_what_a_broken_connection_left_is_removed_later(spool: Spool) -> None:
    left, fresh = spool.incoming / "old.dcm", spool.incoming / "new.dcm"
    for path in (left, fresh):
        path.write_bytes(b"half")
    os.utime(left, (time.time() - 1e5,) * 2)
    spool.tidy(time.time(), keep=5, keep_aside=5, forget=5)
    assert [path.name for path in spool.incoming.iterdir()] == ["new.dcm"]


def test_a_file_that_does_not_say_what_it_is_is_refused(tmp_path: Path) -> None:
    file = make_study(tmp_path, edit=setting("StudyInstanceUID", ""))[0]
    with pytest.raises(UnreadableFileError):
        identify(file)
    assert key_of(make_study(tmp_path / "other")) != key_of(make_study(tmp_path / "third"))
