"""Images that arrive: known by their content, never overwritten, checked before they are kept."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from small_images import write_image

from covid_bert.datastore.store import StudyDatastore
from covid_bert.errors import ConflictError, NotFoundError, OutputError, ParameterError, UnreadableFileError


def hidden_files(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and path.suffix not in {".lock", ".json"}
            and path.name.startswith(".") and path.name != ".lock"]  # fmt: skip


def test_the_same_image_twice_is_one_study(store, tmp_path: Path) -> None:
    upload = write_image(tmp_path / "upload.nii.gz", 1)
    assert store.add_image("first", str(upload), {"site": "A", "name": "x", "sha256": "0"}) == "first"
    assert store.add_image("second", str(upload), {}) == "first"
    assert store.add_image("", str(upload), {}) == "first"
    assert store.list_images() == ["chest", "first"]
    info = store.get_image_info("first")
    assert info["site"] == "A"
    assert info["name"] == "first.nii.gz", "what the store says of a file cannot be sent along"
    assert len(info["sha256"]) == 64


def test_an_image_that_somebody_put_there_is_known_too(store, folder: Path, tmp_path: Path) -> None:
    copy = shutil.copy(folder / "chest.nii.gz", tmp_path / "other.nii.gz")
    assert store.add_image("", str(copy), {}) == "chest"
    assert store.list_images() == ["chest"]


def test_another_image_of_the_same_name_never_replaces_the_first(store, folder: Path, tmp_path: Path) -> None:
    before = (folder / "chest.nii.gz").read_bytes()
    upload = write_image(tmp_path / "chest.nii.gz", 1)
    with pytest.raises(ConflictError) as caught:
        store.add_image("chest", str(upload), {})
    assert caught.value.http_status == 409
    other = store.add_image("", str(upload), {})
    assert other.startswith("chest-")
    assert (folder / "chest.nii.gz").read_bytes() == before
    assert Path(store.get_image_uri(other)).read_bytes() == upload.read_bytes()


def test_an_id_with_digits_of_the_content_may_be_taken_too(store, folder: Path, tmp_path: Path) -> None:
    upload = write_image(tmp_path / "chest.nii.gz", 1)
    digits = hashlib.sha256(upload.read_bytes()).hexdigest()[:12]
    theirs = write_image(folder / f"chest-{digits}.nii", 2)
    before = theirs.read_bytes()
    with pytest.raises(ConflictError):
        store.add_image("", str(upload), {})
    assert theirs.read_bytes() == before


def test_a_file_that_is_no_study_is_not_overwritten_either(store, folder: Path, tmp_path: Path) -> None:
    # Two of one name are not offered, so that their id is free.
    before = (folder / "chest.nii.gz").read_bytes()
    write_image(folder / "chest.nii", 2)
    assert store.list_images() == []
    with pytest.raises(ConflictError):
        store.add_image("chest", str(write_image(tmp_path / "upload.nii.gz", 1)), {})
    assert (folder / "chest.nii.gz").read_bytes() == before


def test_an_id_stays_taken_while_its_file_is_away(store, folder: Path, tmp_path: Path) -> None:
    upload = write_image(tmp_path / "upload.nii.gz", 1)
    store.add_image("mine", str(upload), {"site": "A"})
    (folder / "mine.nii.gz").unlink()
    assert "mine" not in store.list_images()
    with pytest.raises(ConflictError):
        store.add_image("mine", str(write_image(tmp_path / "other.nii.gz", 2)), {})
    assert store.add_image("mine", str(upload), {}) == "mine"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.nii.gz", b""),
        ("a.nii.gz", b"not gzip"),
        ("a.nii", b"x" * 400),
        ("a.zip", b"PK but no zip"),
        ("a.nrrd", b"NRRD0004\ntype: short\ndata file: chest.nii.gz\n\n"),
        ("a.nrrd", b"NRRD0004\ntype: short\ndatafile: ../../etc/passwd\n\n"),
        ("a.mha", b"ObjectType = Image\nElementDataFile = /etc/passwd\n"),
        ("a.mha", b"nothing"),
        ("a.exe", b"MZ"),
    ],
)
def test_what_is_no_image_or_names_another_file_is_refused(store, folder, tmp_path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError) as caught:
        store.add_image("", str(path), {})
    assert caught.value.http_status == 415
    assert store.list_images() == ["chest"]
    assert not hidden_files(folder)


def test_zips_are_taken(store, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "series.zip", "w") as archive:
        archive.writestr("1.dcm", b"x")
    assert store.add_image("", str(tmp_path / "series.zip"), {}) == "series"


def deep(levels: int) -> dict:
    return {"x": deep(levels - 1)} if levels else {}


@pytest.mark.parametrize("info", [{"x": float("nan")}, {"x": "y" * 70_000}, {"x": "\ud800"}, deep(40), deep(250)])
def test_information_is_json_within_limits(store, tmp_path: Path, info: dict) -> None:
    with pytest.raises(ParameterError):
        store.add_image("", str(write_image(tmp_path / "upload.nii.gz", 1)), info)
    with pytest.raises(ParameterError):
        store.update_image_info("chest", info)


def test_what_the_store_itself_says_of_a_file_cannot_be_sent(store, folder: Path) -> None:
    time = (folder / "chest.nii.gz").stat().st_mtime_ns
    sent = {"name": "other.nii.gz", "sha256": "0" * 64, "file_time": time, "author": "root", "site": "A"}
    before = store.get_image_info("chest")
    store.update_image_info("chest", sent)
    assert store.get_image_info("chest") == {**before, "site": "A"}


def test_information_adds_up_only_to_the_limit(store) -> None:
    for number in range(6):
        store.update_image_info("chest", {str(number): "y" * 10_000})
    with pytest.raises(ParameterError):
        store.update_image_info("chest", {"6": "y" * 10_000})
    assert set("012345") <= set(store.get_image_info("chest"))


@pytest.mark.skipif(os.geteuid() == 0 or os.name == "nt", reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_a_typed_error(store, folder: Path, tmp_path: Path) -> None:
    folder.chmod(0o500)
    try:
        with pytest.raises(OutputError):
            store.add_image("", str(write_image(tmp_path / "upload.nii.gz", 1)), {})
    finally:
        folder.chmod(0o700)


def test_a_full_disk_leaves_nothing_behind(store, folder: Path, tmp_path: Path, monkeypatch) -> None:
    def full(source, target):
        Path(target).write_bytes(b"part")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("covid_bert.datastore.writing.shutil.copyfile", full)
    with pytest.raises(OutputError) as caught:
        store.add_image("new", str(write_image(tmp_path / "upload.nii.gz", 1)), {})
    assert caught.value.http_status == 507
    assert store.list_images() == ["chest"]
    assert not [path for path in folder.rglob("*.nii.gz") if path.name != "chest.nii.gz"]


def test_removing_a_study_removes_all_that_is_kept_of_it(store, folder: Path, tmp_path: Path) -> None:
    from small_images import write_mask

    store.save_label("chest", str(write_mask(tmp_path / "mask.nii.gz")), "final", {})
    store.remove_image("chest")
    assert store.list_images() == []
    assert not [path for path in folder.rglob("*") if "chest" in str(path.relative_to(folder))]
    with pytest.raises(NotFoundError):
        store.remove_image("chest")


def test_a_removal_that_was_cut_off_is_finished_at_the_next_start(
    store, folder: Path, tmp_path: Path, monkeypatch
) -> None:
    from small_images import write_mask

    store.save_label("chest", str(write_mask(tmp_path / "mask.nii.gz")), "final", {})
    monkeypatch.setattr(store._writing.labels, "erase", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        store.remove_image("chest")
    assert list(folder.rglob("*chest*"))
    again = StudyDatastore(str(folder))
    assert again.list_images() == []
    assert not list(folder.rglob("*chest*"))


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_unfinished_uploads_of_a_killed_process_go_and_those_of_a_running_one_stay(folder: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from covid_bert.datastore.uploads import Staging\n"
        "with Staging(Path(sys.argv[1])).file('.nii.gz') as path:\n"
        "    path.write_text('x'); print('ready', flush=True); time.sleep(600)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline().strip() == "ready"
        StudyDatastore(str(folder))
        assert list((folder / ".incoming").rglob("*.nii.gz"))
    finally:
        child.kill()
        child.wait()
    StudyDatastore(str(folder))
    assert not list((folder / ".incoming").rglob("*.nii.gz"))


def write_detached(folder: Path, name: str, voxels: str) -> None:
    lines = ("ObjectType = Image", "NDims = 3", "DimSize = 8 8 8", "ElementType = MET_SHORT")
    (folder / f"{name}.mhd").write_text("\n".join([*lines, f"ElementDataFile = {voxels}", ""]))


@pytest.mark.parametrize("cut_off", [False, True])
def test_the_voxels_of_a_detached_header_go_with_it(store, folder: Path, cut_off: bool) -> None:
    write_detached(folder, "apart", "apart.raw")
    (folder / "apart.raw").write_bytes(bytes(1024))
    if cut_off:
        (folder / "apart.mhd").rename(folder / ".removed-apart")
        StudyDatastore(str(folder))
    else:
        store.refresh()
        store.remove_image("apart")
    assert not list(folder.glob("*apart*"))
    assert (folder / "chest.nii.gz").exists()


def test_voxels_that_belong_to_others_stay(store, folder: Path, tmp_path: Path) -> None:
    (folder / "shared.raw").write_bytes(bytes(1024))
    (tmp_path / "outside.raw").write_bytes(bytes(1024))
    named = {"one": "shared.raw", "two": "shared.raw", "three": "chest.nii.gz", "four": "../outside.raw"}
    for name, voxels in named.items():
        write_detached(folder, name, voxels)
    store.refresh()
    for name in ("one", "three", "four"):
        store.remove_image(name)
    for kept in (folder / "shared.raw", folder / "chest.nii.gz", tmp_path / "outside.raw"):
        assert kept.exists()
