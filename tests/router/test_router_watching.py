"""Watching a folder: whole files once, zips, and nothing that is no chest CT."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
from router_maker import key_of, make_study
from volume_maker import PATIENT_NAME

from covid_bert.errors import OutputError
from covid_bert.router.queue_list import State
from covid_bert.router.spool import Spool
from covid_bert.router.watching import WatchedFolder

SETTLE = 10.0


@pytest.fixture
def spool(tmp_path: Path):
    spool = Spool(tmp_path / "spool", reserve_bytes=1)
    yield spool
    spool.close()


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    folder = tmp_path / "drop"
    folder.mkdir()
    return folder


@pytest.fixture
def watched(spool: Spool, drop: Path):
    watched = WatchedFolder(drop, spool, settle=SETTLE)
    yield watched
    watched.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_study(tmp_path_factory.mktemp("study"))


def packed(files: list[Path], target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for file in files:
            archive.write(file, f"study/{file.name}")
    return target


def test_files_are_taken_once_they_do_not_change_and_only_once(
    watched: WatchedFolder, spool: Spool, drop: Path, files: list[Path]
) -> None:
    shutil.copytree(files[0].parent, drop / "study")
    assert watched.look(0) == 0
    assert watched.look(SETTLE - 1) == 0
    assert watched.look(SETTLE) == len(files)
    assert watched.look(SETTLE * 2) == 0
    assert spool.queue.find(key_of(files)).files == len(files)
    assert len(list((drop / "study").iterdir())) == len(files), "they are the site's own"
    spool.queue.settle(1e12, quiet=0, patience=1e13)
    assert spool.queue.find(key_of(files)).state is State.READY


def test_a_half_copied_file_is_not_taken(watched: WatchedFolder, spool: Spool, drop: Path, files: list[Path]) -> None:
    content, target = files[0].read_bytes(), drop / "slice.dcm"
    for size in range(1, 5):
        target.write_bytes(content[: len(content) * size // 5])
        assert watched.look(size * (SETTLE - 1)) == 0
    target.write_bytes(content)
    assert watched.look(5 * SETTLE) == 0
    assert watched.look(6 * SETTLE) == 1


def test_zips_are_taken_and_half_of_one_is_taken_when_it_is_whole(
    watched: WatchedFolder, spool: Spool, drop: Path, files: list[Path], tmp_path: Path
) -> None:
    whole = packed(files, tmp_path / "study.zip").read_bytes()
    (drop / "study.zip").write_bytes(whole[: len(whole) // 2])
    watched.look(0)
    assert watched.look(SETTLE) == 0
    assert watched.refused() == 1
    (drop / "study.zip").write_bytes(whole)
    watched.look(2 * SETTLE)
    assert watched.look(3 * SETTLE) == len(files)
    assert watched.refused() == 0
    assert not list(tmp_path.glob("covid-bert-*")), "what was unpacked is gone"


def test_the_same_study_as_files_and_as_zip_is_one(
    watched: WatchedFolder, spool: Spool, drop: Path, files: list[Path]
) -> None:
    shutil.copytree(files[0].parent, drop / "study")
    packed(files, drop / "study.zip")
    watched.look(0)
    watched.look(SETTLE)
    assert [study.files for study in spool.queue.studies()] == [len(files)]


def test_a_restart_takes_nothing_again(
    watched: WatchedFolder, spool: Spool, drop: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(files[0].parent, drop / "study")
    watched.look(0)
    watched.look(SETTLE)
    watched.close()
    again = WatchedFolder(drop, spool, settle=SETTLE)
    monkeypatch.setattr(spool, "put", lambda *_, **__: pytest.fail("taken again"))
    again.look(0)
    assert again.look(SETTLE) == 0
    again.close()


def test_other_files_are_left_alone(watched: WatchedFolder, spool: Spool, drop: Path, files: list[Path]) -> None:
    (drop / "readme.txt").write_text("no image")
    (drop / ".hidden.dcm").write_bytes(files[0].read_bytes())
    (drop / "damaged.dcm").write_bytes(files[0].read_bytes()[:200])
    packed([drop / "readme.txt"], drop / "texts.zip")
    watched.look(0)
    assert watched.look(SETTLE) == 0
    assert watched.refused() == 2, "the damaged one and the zip without images"
    assert spool.queue.studies() == []


def test_a_zip_that_leads_out_of_its_folder_is_refused(
    watched: WatchedFolder, drop: Path, files: list[Path], tmp_path: Path
) -> None:
    with zipfile.ZipFile(drop / "bad.zip", "w") as archive:
        archive.write(files[0], "../../escaped.dcm")
    watched.look(0)
    assert watched.look(SETTLE) == 0
    assert watched.refused() == 1
    assert not list(tmp_path.rglob("escaped.dcm"))


def test_a_full_disk_is_waited_for(tmp_path: Path, drop: Path, files: list[Path]) -> None:
    full = Spool(tmp_path / "full", reserve_bytes=2**62)
    watched = WatchedFolder(drop, full, settle=SETTLE)
    shutil.copy(files[0], drop)
    watched.look(0)
    for now in (SETTLE, 2 * SETTLE):
        with pytest.raises(OutputError):
            watched.look(now)
    watched.close()
    full.close()


def test_a_folder_that_is_away_is_told(watched: WatchedFolder, drop: Path, files: list[Path]) -> None:
    drop.rmdir()
    with pytest.raises(OutputError, match="not there"):
        watched.look(0)


def test_no_name_of_a_patient_is_kept(watched: WatchedFolder, spool: Spool, drop: Path, files: list[Path]) -> None:
    shutil.copy(files[0], drop / f"{PATIENT_NAME}.dcm")
    watched.look(0)
    assert watched.look(SETTLE) == 1
    for path in spool.folder.glob("*.sqlite*"):
        assert PATIENT_NAME.encode() not in path.read_bytes()
