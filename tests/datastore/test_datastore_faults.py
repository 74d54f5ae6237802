"""Several writers, kills, damaged and missing indices: nothing is lost, and reading never writes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from kill_writes import run
from small_images import write_image, write_mask

from covid_bert.datastore.index import Index, label_lock
from covid_bert.datastore.store import StudyDatastore
from covid_bert.errors import BusyError
from covid_bert.files import write_atomically

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")


def in_child(work: Callable[[], None]) -> int:
    """Run a function in a forked process; return its id."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return child


def wait(*children: int) -> None:
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)


@forks
def test_two_writers_at_once_lose_nothing(store, folder: Path, tmp_path: Path) -> None:
    write_image(folder / "other.nii.gz", 1)
    mask = write_mask(tmp_path / "mask.nii.gz")

    def writer(author: str) -> Callable[[], None]:
        def work() -> None:
            own = StudyDatastore(str(folder))
            for number in range(8):
                own.save_label("chest", str(mask), "final", {"user": author})
                own.update_image_info("other", {f"{author}{number}": number})
                own.add_image(f"{author}{number}", str(upload(author, number)), {})

        return work

    def upload(author: str, number: int) -> Path:
        path = tmp_path / f"{author}{number}.nii"
        path.write_bytes(b"\0" * 344 + b"n+1\0" + path.name.encode())
        return path

    wait(in_child(writer("anna")), in_child(writer("bert")))
    authors = [version.author for version in store.versions("chest", "final")]
    assert sorted(authors) == ["anna"] * 8 + ["bert"] * 8
    assert [version.number for version in store.versions("chest", "final")] == list(range(1, 17))
    wanted = {f"{author}{number}" for author in ("anna", "bert") for number in range(8)}
    assert wanted <= store.get_image_info("other").keys()
    assert wanted <= set(store.list_images())


@forks
def test_nothing_is_lost_or_damaged_when_a_writer_is_killed() -> None:
    found = run(rounds=12)
    assert found.labels, "the writers had time to write"


@forks
def test_the_check_after_a_kill_notices_an_index_that_is_written_in_place(monkeypatch) -> None:
    def in_place(path: Path, content: str) -> None:
        with path.open("w") as stream:
            for position in range(0, len(content), 64):
                stream.write(content[position : position + 64])
                stream.flush()
                os.fsync(stream.fileno())

    monkeypatch.setattr("covid_bert.datastore.index.write_atomically", in_place)
    with pytest.raises((AssertionError, ValueError)):
        run(rounds=100)


def test_a_version_that_was_not_published_any_more_is_published_at_the_next_start(store, folder, tmp_path) -> None:
    store.save_label("chest", str(write_mask(tmp_path / "1.nii.gz", 1)), "final", {"user": "anna"})
    index, shown = folder / "datastore_v2.json", folder / "labels" / "final" / "chest.nii.gz"
    before = index.read_bytes(), shown.read_bytes()
    store.save_label("chest", str(write_mask(tmp_path / "2.nii.gz", 2)), "final", {"user": "bert"})
    after = shown.read_bytes()
    index.write_bytes(before[0])
    shown.write_bytes(before[1])
    again = StudyDatastore(str(folder))
    assert again.get_label_info("chest", "final")["author"] == "bert"
    assert shown.read_bytes() == after


@pytest.mark.parametrize("content", [b"", b"{", b'{"name": 5}', b"\xff\xfe", b"[]"])
def test_a_damaged_index_is_kept_aside_and_made_anew(store, folder, tmp_path, caplog, content: bytes) -> None:
    store.save_label("chest", str(write_mask(tmp_path / "1.nii.gz")), "final", {"user": "anna"})
    index = folder / "datastore_v2.json"
    index.write_bytes(content)
    again = StudyDatastore(str(folder))
    assert again.list_images() == ["chest"]
    assert again.get_label_info("chest", "final")["author"] == "anna"
    (aside,) = folder.glob("datastore_v2.damaged-*.json")
    assert aside.read_bytes() == content
    assert "damaged" in caplog.text
    assert json.loads(index.read_bytes())["objects"]["chest"]["labels"]["final"]["info"]["version"] == 1


def test_an_index_damaged_while_the_server_runs_costs_no_information(store, folder: Path) -> None:
    store.update_image_info("chest", {"site": "A"})
    (folder / "datastore_v2.json").write_bytes(b"{")
    assert store.get_image_info("chest")["site"] == "A"
    store.update_image_info("chest", {"more": 1})
    assert StudyDatastore(str(folder)).get_image_info("chest")["site"] == "A"
    assert len(list(folder.glob("datastore_v2.damaged-*.json"))) == 1


def test_a_damaged_record_costs_no_other_study_its_information(store, folder: Path) -> None:
    store.update_image_info("chest", {"site": "A"})
    index = folder / "datastore_v2.json"
    content = json.loads(index.read_bytes())
    content["objects"]["other"] = {"image": 5}
    index.write_text(json.dumps(content))
    again = StudyDatastore(str(folder))
    assert again.get_image_info("chest")["site"] == "A"
    assert not list(folder.glob("*damaged*"))


def test_the_index_is_one_that_monailabel_reads_and_the_other_way_round(store, folder: Path, tmp_path: Path) -> None:
    local = pytest.importorskip("monailabel.datastore.local")
    store.save_label("chest", str(write_mask(tmp_path / "1.nii.gz")), "final", {"user": "anna"})
    stock = local.LocalDatastore(str(folder), extensions=("*.nii.gz",))
    assert stock.list_images() == ["chest"]
    assert stock.get_label_info("chest", "final")["author"] == "anna"
    stock.update_image_info("chest", {"site": "A"})
    assert store.get_image_info("chest")["site"] == "A"
    assert stock.json() == store.json()


def test_reading_never_writes(store, folder: Path, tmp_path: Path) -> None:
    store.save_label("chest", str(write_mask(tmp_path / "1.nii.gz")), "final", {"user": "anna"})
    write_image(folder / "new.nii.gz", 1)

    def state() -> dict[str, tuple[int, int]]:
        return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.rglob("*")}

    before = state()
    reader = StudyDatastore(str(folder), read_only=True)
    for one in (store, reader):
        assert one.list_images() == ["chest", "new"]
        one.json(), one.listing(), one.status(), one.datalist(), one.refresh()
        one.get_image_info("new"), one.get_label_info("chest", "final"), one.versions("chest", "final")
    assert state() == before


def test_the_list_is_made_once_for_each_change(folder: Path) -> None:
    store = StudyDatastore(str(folder), auto_reload=False)
    first = store.listing()
    assert store.listing() is first
    store.update_image_info("chest", {"site": "A"})
    assert b'"site"' in store.listing()


def test_files_are_noticed_when_they_come_and_go(store, folder: Path) -> None:
    write_image(folder / "new.nii.gz", 1)
    assert store.list_images() == ["chest", "new"]
    (folder / "series.1.2" / "inner").mkdir(parents=True)
    assert "series.1.2" not in store.list_images(), "a folder without a file is no study"
    (folder / "new.nii.gz").unlink()
    assert "new" not in store.list_images()


def test_a_file_in_an_older_folder_is_noticed(folder: Path) -> None:
    inner = folder / "series.1.2" / "inner"
    inner.mkdir(parents=True)
    store = StudyDatastore(str(folder))
    for path in (inner, inner.parent, folder):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    for _ in range(3):
        assert store.list_images() == ["chest"]
    (inner / "1.dcm").write_bytes(b"x")
    assert store.list_images() == ["chest", "series.1.2"]


def test_a_lock_that_is_not_given_back_is_a_typed_error(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr("covid_bert.datastore.index._LOCK_SECONDS", 0.1)
    index = Index(folder)
    with label_lock(folder), pytest.raises(BusyError) as caught, index.changing():
        pass
    assert caught.value.http_status == 429


def test_a_file_is_on_the_disk_before_it_takes_its_name(tmp_path: Path, monkeypatch) -> None:
    target, synchronised = tmp_path / "file.json", []
    target.write_text("old")
    monkeypatch.setattr("covid_bert.files.sync", lambda path: synchronised.append((path, target.read_text())))
    write_atomically(target, "new")
    (temporary, before), (parent, after) = synchronised
    assert (temporary.parent, before) == (tmp_path, "old")
    assert (parent, after) == (tmp_path, "new")


def test_an_upload_is_on_the_disk_before_it_takes_its_name(store, folder: Path, tmp_path: Path, monkeypatch) -> None:
    synchronised, new = [], folder / "new.nii.gz"
    monkeypatch.setattr("covid_bert.datastore.writing.sync", lambda path: synchronised.append((path, new.exists())))
    store.add_image("new", str(write_image(tmp_path / "upload.nii.gz", 1)), {})
    (staged, before), (parent, after) = synchronised
    assert (staged.parent.parent.name, before) == (".incoming", False)
    assert (parent, after) == (folder, True)


def test_images_are_moved_into_place_whole(store, folder: Path, tmp_path: Path, monkeypatch) -> None:
    """A list that is asked for while an upload is copied does not show it."""
    seen = []
    copy = shutil.copyfile

    def slowly(source, target):
        Path(target).write_bytes(b"half")
        seen.append(store.list_images())
        return copy(source, target)

    monkeypatch.setattr("covid_bert.datastore.writing.shutil.copyfile", slowly)
    store.add_image("new", str(write_image(tmp_path / "upload.nii.gz", 1)), {})
    assert seen == [["chest"]]
    assert store.list_images() == ["chest", "new"]
