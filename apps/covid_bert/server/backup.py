"""One file with all labels, their versions and the index: no images, no tokens. Made while a server runs, too."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field

from covid_bert import __version__
from covid_bert.datastore.index import INDEX_NAME, LABELS_NAME, label_lock
from covid_bert.errors import BusyError, NotFoundError, OutputError, ParameterError
from covid_bert.files import replacing
from covid_bert.weights.files import sha256_of

MANIFEST_NAME = "manifest.json"
FORMAT = 1
_SNAPSHOT = ".backup-snapshot"
# What a write that was cut off leaves; see `covid_bert.files.replacing`.
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}(\..*)?")


class BackupFile(BaseModel):
    """One file of a back-up.

    Parameters
    ----------
    sha256
        Of its content.
    size
        In bytes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class BackupManifest(BaseModel):
    """What a back-up holds; its first member.

    Parameters
    ----------
    format
        Version of this form.
    covid_bert
        Version of the program that made it.
    created
        ISO 8601, UTC.
    files
        By path below the folder with the studies, with '/' between its parts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    covid_bert: str
    created: str
    files: dict[str, BackupFile]


def back_up(studies: Path, target: Path) -> BackupManifest:
    """Write all labels, versions and the index of a folder into one new file (mode 0600), whole or not at all.

    Labels are saved by other processes meanwhile; the copy holds all of them as they were at one moment.

    Parameters
    ----------
    studies
        Folder with the studies.
    target
        File to be made.

    Raises
    ------
    NotFoundError
        If there is no such folder, or nothing in it to copy.
    ParameterError
        If the file exists already.
    BusyError
        If another back-up runs, the labels stay locked, or another program changes them in place.
    OutputError
        If it cannot be written.
    """
    if not studies.is_dir():
        raise NotFoundError(f"There is no folder {studies.name}.", "Give the folder that the server was given.")
    if target.exists():
        raise ParameterError(f"The file {target.name} exists already.", "Choose a new name, or remove it first.")
    try:
        with _snapshot(studies) as folder:
            manifest = _describe(folder)
            if not manifest.files:
                raise NotFoundError(f"There are no labels in {studies.name}.", "Give the folder with the studies.")
            with replacing(target) as temporary:
                _write(temporary, folder, manifest)
    except OSError as error:
        raise OutputError(
            f"The back-up cannot be written: {error.strerror or error}.", "Choose another place, or free disk space."
        ) from error
    return manifest


@contextmanager
def _snapshot(studies: Path) -> Iterator[Path]:
    """Yield a folder with everything as it is at one moment.

    Only making it needs the labels' lock: files are never written in place, so a second name keeps their content.
    """
    folder = studies / _SNAPSHOT
    try:
        with FileLock(studies / f"{_SNAPSHOT}.lock", mode=0o600, timeout=0):
            try:
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(mode=0o700)
                with label_lock(studies):
                    for path in _label_files(studies):
                        _second_name(studies / path, folder / path)
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except Timeout as error:
        raise BusyError(
            "The labels are locked, or another back-up runs.", "Try again; `covid-bert doctor` names what holds them."
        ) from error


def _label_files(studies: Path) -> list[Path]:
    """Paths, below the folder with the studies, of all that is copied; links are left out."""
    found = [Path(INDEX_NAME)] if (studies / INDEX_NAME).is_file() else []
    for parent, _, names in os.walk(studies / LABELS_NAME):
        files = [Path(parent) / name for name in names if _TEMPORARY.fullmatch(name) is None]
        found += [file.relative_to(studies) for file in files if file.is_file() and not file.is_symlink()]
    return sorted(found)


def _second_name(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        # Other disks, and file systems without links.
        shutil.copyfile(source, target)


def _describe(folder: Path) -> BackupManifest:
    files = {
        path.relative_to(folder).as_posix(): BackupFile(sha256=sha256_of(path), size=path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return BackupManifest(format=FORMAT, covid_bert=__version__, created=created, files=files)


def _write(target: Path, folder: Path, manifest: BackupManifest) -> None:
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        content = json.dumps(manifest.model_dump(), indent=1).encode()
        archive.addfile(_member(MANIFEST_NAME, len(content)), io.BytesIO(content))
        for name, described in manifest.files.items():
            with (folder / name).open("rb") as source:
                watched = _Watched(source)
                archive.addfile(_member(name, described.size), watched)
            if watched.digest.hexdigest() != described.sha256:
                raise BusyError(
                    "A label was changed while it was copied, and not by the server.",
                    "Try again; leave the files in the folder of labels alone.",
                )


class _Watched(io.RawIOBase):
    """A file that notes the SHA-256 of what is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self.digest.update(block)
        return block


def _member(name: str, size: int) -> tarfile.TarInfo:
    """A member without the names of this machine's users."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    return member
