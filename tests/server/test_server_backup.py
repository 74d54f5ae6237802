"""Back-ups hold all labels as they were at one moment; only a whole, unchanged one is brought back."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from covid_bert.cli import app
from covid_bert.errors import ArchiveError, BusyError, NotFoundError, OutputError, ParameterError, ServerError
from covid_bert.server import backup as backups
from covid_bert.server import restore as restoring
from covid_bert.server.audit import AuditLog, default_audit_folder
from covid_bert.server.backup import back_up
from covid_bert.server.launch import only_server_of
from covid_bert.server.restore import restore

LABELS = {
    "datastore_v2.json": b'{"objects": {}}',
    "labels/final/a.nii.gz": b"new mask",
    "labels/study/a.json": b'{"study_class": "covid"}',
    "labels/.versions/final/a/000001.data.nii.gz": b"old mask",
    "labels/.versions/final/a/000001.json": b'{"number": 1}',
}


def state(studies: Path) -> dict[str, bytes]:
    """Everything of the labels in a folder, as long as it is not hidden beside them."""
    files = [studies / "datastore_v2.json", *(studies / "labels").rglob("*")]
    return {path.relative_to(studies).as_posix(): path.read_bytes() for path in files if path.is_file()}


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    folder = tmp_path / "studies"
    for name, content in LABELS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "a.nii.gz").write_bytes(b"image")
    (folder / "labels" / f".{'0' * 32}.nii.gz").write_bytes(b"cut off")
    (folder / "labels" / "final" / "link.nii.gz").symlink_to(folder / "a.nii.gz")
    return folder


@pytest.fixture
def archive(studies: Path, tmp_path: Path) -> Path:
    back_up(studies, tmp_path / "labels.tar")
    return tmp_path / "labels.tar"


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def test_there_and_back(studies: Path, archive: Path, empty: Path) -> None:
    manifest, aside = restore(archive, empty)
    assert state(empty) == LABELS
    assert aside is None
    assert set(manifest.files) == set(LABELS)
    assert sorted(path.name for path in empty.iterdir() if path.suffix != ".lock" and path.name != ".lock") == [
        *("datastore_v2.json", "labels"),
    ]
    if os.name != "nt":
        assert archive.stat().st_mode & 0o777 == 0o600
    assert not (studies / ".backup-snapshot").exists()


def test_neither_images_nor_names_of_users_are_in_it(archive: Path) -> None:
    with tarfile.open(archive) as opened:
        members = opened.getmembers()
    assert [member.name for member in members] == ["manifest.json", *sorted(LABELS)]
    assert {(member.uname, member.gname, member.uid) for member in members} == {("", "", 0)}


def test_labels_saved_meanwhile_do_not_mix(studies: Path, tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from covid_bert.datastore.index import label_lock
from covid_bert.files import write_atomically
studies, number = Path(sys.argv[1]), 0
print("begun", flush=True)
while True:
    with label_lock(studies):
        number += 1
        write_atomically(studies / "labels" / "final" / "a.nii.gz", str(number))
        time.sleep(0.05)
        write_atomically(studies / "datastore_v2.json", str(number))
    time.sleep(0.01)
"""
    with subprocess.Popen([sys.executable, "-c", code, str(studies)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        first_bytes = {path: (studies / path).read_bytes() for path in LABELS}
        while (studies / "datastore_v2.json").read_bytes() == first_bytes["datastore_v2.json"]:
            assert writer.poll() is None
        copies, seen = 0, set()
        while copies < 6 or len(seen) < 2:
            assert writer.poll() is None
            target = tmp_path / f"{copies}.tar"
            back_up(studies, target)
            with tarfile.open(target) as opened:
                both = [opened.extractfile(name).read() for name in ("labels/final/a.nii.gz", "datastore_v2.json")]
            assert both[0] == both[1]
            seen.add(both[0])
            copies += 1
        writer.kill()


def test_file_systems_without_links_are_copied(studies: Path, tmp_path: Path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(backups.os, "link", refuse)
    assert set(back_up(studies, tmp_path / "x.tar").files) == set(LABELS)


def test_a_file_changed_in_place_by_another_program_is_noticed(studies: Path, tmp_path: Path, monkeypatch) -> None:
    describe = backups._describe

    def then_change(folder: Path) -> backups.BackupManifest:
        manifest = describe(folder)
        with (studies / "labels" / "final" / "a.nii.gz").open("r+b") as file:
            file.write(b"NEW")
        return manifest

    monkeypatch.setattr(backups, "_describe", then_change)
    with pytest.raises(BusyError, match="changed while it was copied"):
        back_up(studies, tmp_path / "labels.tar")
    assert not (tmp_path / "labels.tar").exists()


def test_a_full_disk_leaves_no_half_file(studies: Path, tmp_path: Path, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "addfile", full)
    with pytest.raises(OutputError, match="No space"):
        back_up(studies, tmp_path / "labels.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["studies"]
    assert not (studies / ".backup-snapshot").exists()


def test_what_cannot_be_backed_up(studies: Path, archive: Path, empty: Path, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="exists already"):
        back_up(studies, archive)
    with pytest.raises(NotFoundError):
        back_up(tmp_path / "nothing", tmp_path / "x.tar")
    with pytest.raises(NotFoundError):
        back_up(empty, tmp_path / "x.tar")
    with FileLock(studies / ".backup-snapshot.lock"), pytest.raises(BusyError):
        back_up(studies, tmp_path / "x.tar")


def test_labels_that_are_there_stay_unless_told_and_are_kept_aside(studies: Path, archive: Path) -> None:
    (studies / "labels" / "final" / "a.nii.gz").write_bytes(b"newer mask")
    before = state(studies)
    with pytest.raises(ParameterError, match="already"):
        restore(archive, studies)
    assert state(studies) == before
    _, aside = restore(archive, studies, replace=True)
    assert state(studies) == LABELS
    assert aside is not None
    assert state(aside) == before
    assert aside.name.startswith(".before-restore-")


def test_a_restoring_is_in_the_audit_log_or_is_not_done(studies: Path, archive: Path, empty: Path) -> None:
    log = AuditLog(default_audit_folder())
    restore(archive, empty)
    lines = [json.loads(line) for file in log.files() for line in file.read_text().splitlines()]
    assert [(line["action"], line["outcome"], line["files"]) for line in lines] == [
        *(("labels-restored", "begun", len(LABELS)), ("labels-restored", "done", len(LABELS))),
    ]
    before = state(studies)
    (log.folder / "key").unlink()
    with pytest.raises(ServerError, match="audit log"):
        restore(archive, studies, replace=True)
    assert state(studies) == before


def test_a_running_server_is_not_changed_under_its_feet(archive: Path, empty: Path) -> None:
    with only_server_of(empty), pytest.raises(ServerError, match="serves"):
        restore(archive, empty)
    restore(archive, empty)


def rewritten(archive: Path, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]) -> Path:
    """Change a back-up member by member."""
    with tarfile.open(archive) as opened:
        members = [(member, opened.extractfile(member).read()) for member in opened]
    change(members)
    target = archive.with_name("changed.tar")
    with tarfile.open(target, "w") as opened:
        for member, content in members:
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))
    return target


def promised(members: list[tuple[tarfile.TarInfo, bytes]], name: str, kind: bytes = tarfile.REGTYPE) -> None:
    """Add a member and its line in the manifest."""
    manifest = json.loads(members[0][1])
    manifest["files"][name] = {"sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "size": 0}
    members[0] = (members[0][0], json.dumps(manifest).encode())
    added = tarfile.TarInfo(name)
    added.type, added.linkname = kind, "/etc/passwd"
    members.append((added, b""))


def set_manifest(members: list[tuple[tarfile.TarInfo, bytes]], content: bytes) -> None:
    members[0] = (members[0][0], content)


def test_an_added_empty_file_is_brought_back(archive: Path, empty: Path) -> None:
    restore(rewritten(archive, lambda members: promised(members, "labels/final/b.nii.gz")), empty)
    assert (empty / "labels" / "final" / "b.nii.gz").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda members: members.__setitem__(2, (members[2][0], b"x" * len(members[2][1]))),
        lambda members: members.__setitem__(2, (members[2][0], members[2][1] + b"x")),
        lambda members: members.pop(2),
        lambda members: members.pop(0),
        lambda members: members.append((tarfile.TarInfo("labels/final/more.nii.gz"), b"")),
        lambda members: members.append(members[2]),
        lambda members: members.append(members[0]),
        lambda members: set_manifest(members, b"{"),
        lambda members: set_manifest(members, members[0][1].replace(b'"format": 1', b'"format": 2')),
        *[
            lambda members, name=name: promised(members, name)
            for name in (
                *("../outside", "labels/../../outside", "/tmp/outside", "labels//x", "labels/./x", "other/x"),
                *("labels\\..\\x", "labels/C:x", "labels", "tokens.json", "a.nii.gz", "labels/\nx"),
            )
        ],
        *[
            lambda members, kind=kind: promised(members, "labels/final/odd", kind)
            for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
        ],
    ],
)
def test_damaged_and_hostile_back_ups_change_nothing(studies: Path, archive: Path, tmp_path: Path, change) -> None:
    changed = rewritten(archive, change)
    before, beside = state(studies), sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(ArchiveError):
        restore(changed, studies, replace=True)
    assert state(studies) == before
    assert sorted(path.name for path in tmp_path.rglob("*") if not path.name.endswith(".lock")) == [
        name for name in beside if not name.endswith(".lock")
    ]


@pytest.mark.parametrize("length", [0, 100, 3000])
def test_a_file_cut_short_or_of_another_kind(studies: Path, archive: Path, tmp_path: Path, length: int) -> None:
    (tmp_path / "short.tar").write_bytes(archive.read_bytes()[:length])
    with pytest.raises(ArchiveError):
        restore(tmp_path / "short.tar", studies, replace=True)
    assert state(studies).items() >= LABELS.items()


def test_what_was_there_returns_if_the_new_cannot_take_its_place(studies: Path, archive: Path, monkeypatch) -> None:
    before, replace = state(studies), Path.replace

    def fail(self: Path, target: Path) -> Path:
        if self.parent.name.startswith(".restore-") and self.name == "datastore_v2.json":
            raise OSError(errno.EIO, "Input/output error")
        return replace(self, target)

    monkeypatch.setattr(restoring.Path, "replace", fail)
    with pytest.raises(OutputError, match="Input/output"):
        restore(archive, studies, replace=True)
    assert state(studies) == before
    assert not list(studies.glob(".before-*")) + list(studies.glob(".restore-*"))


def test_commands(studies: Path, empty: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    made = runner.invoke(app, ["backup", str(studies), str(tmp_path / "a.tar")])
    assert (made.exit_code, "5 files" in made.output) == (0, True)
    back = runner.invoke(app, ["restore", str(tmp_path / "a.tar"), str(empty)])
    assert (back.exit_code, "are back" in back.output) == (0, True)
    again = runner.invoke(app, ["restore", str(tmp_path / "a.tar"), str(empty), "--replace"])
    assert "What was there is in .before-restore-" in again.output
