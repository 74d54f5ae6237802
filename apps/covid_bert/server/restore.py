"""Bringing a back-up of labels back: checked whole before anything changes, and what was there is kept."""

from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
import uuid
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath

from filelock import Timeout
from pydantic import ValidationError

from covid_bert.datastore.index import INDEX_NAME, LABELS_NAME, label_lock
from covid_bert.datastore.unpacking import unpack
from covid_bert.errors import ArchiveError, BusyError, NotFoundError, OutputError, ParameterError
from covid_bert.files import sync
from covid_bert.server.audit import AuditLog, default_audit_folder
from covid_bert.server.backup import FORMAT, MANIFEST_NAME, BackupFile, BackupManifest
from covid_bert.server.launch import only_server_of

_LARGEST_MANIFEST = 2**30
_AGAIN = "Take another back-up; nothing was changed."


def restore(source: Path, studies: Path, *, replace: bool = False) -> tuple[BackupManifest, Path | None]:
    """Bring labels, versions and index of a back-up back.

    Parameters
    ----------
    source
        File of `covid_bert.server.backup.back_up`.
    studies
        Folder with the studies; exists.
    replace
        Whether it may take the place of labels that are there; they are moved into a hidden folder beside them.

    Returns
    -------
    tuple
        What was brought back, and the folder with what was there before (None if there was nothing).

    Raises
    ------
    NotFoundError
        If the file or the folder does not exist.
    ArchiveError
        If the file is damaged, was changed or is no back-up; nothing is changed then.
    ParameterError
        If there are labels already and `replace` is not set.
    ServerError
        If a server runs, or the key of the audit log is lost.
    BusyError
        If the labels stay locked.
    OutputError
        If the disk, or the audit log, does not take it; what was there is then in its place again.
    """
    for path, exists in ((source, source.is_file()), (studies, studies.is_dir())):
        if not exists:
            raise NotFoundError(f"There is no {path.name}.", "Give the back-up first, then the folder with studies.")
    with only_server_of(studies):
        if _has_labels(studies) and not replace:
            raise ParameterError(
                f"There are labels in {studies.name} already.",
                "With --replace the back-up takes their place; they are kept aside.",
            )
        staging = studies / f".restore-{uuid.uuid4().hex}"
        try:
            staging.mkdir(mode=0o700)
            manifest = _unpack(source, staging)
            facts = {"files": len(manifest.files), "made": manifest.created}
            with label_lock(studies), AuditLog(default_audit_folder()).change("labels-restored", facts=facts):
                aside = _swap(studies, staging)
        except tarfile.TarError as error:
            raise ArchiveError(f"{source.name} is damaged or is no back-up.", _AGAIN) from error
        except Timeout as error:
            raise BusyError("The labels are locked.", "Stop what uses them; nothing was changed.") from error
        except OSError as error:
            raise OutputError(
                f"The labels cannot be brought back: {error.strerror}.", "Free disk space, or mend its permissions."
            ) from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return manifest, aside


def _has_labels(studies: Path) -> bool:
    """Whether there is an index or any label; an empty folder for labels is none."""
    return (studies / INDEX_NAME).exists() or any(path.is_file() for path in (studies / LABELS_NAME).rglob("*"))


def _unpack(source: Path, staging: Path) -> BackupManifest:
    """Write all files of a back-up into an empty folder, checking every one against the manifest."""
    with tarfile.open(source, "r:") as archive:
        manifest = _manifest(archive)
        left = dict(manifest.files)
        needed, free = sum(file.size for file in left.values()), shutil.disk_usage(staging).free
        if needed > free:
            raise OutputError(f"The back-up needs {needed} bytes, and {free} are free.", "Free disk space.")
        for member in archive:
            if member.name == MANIFEST_NAME and member.offset == 0:
                continue
            described = left.pop(member.name, None)
            if described is None or not member.isreg() or member.size != described.size or not _allowed(member.name):
                raise ArchiveError("The back-up holds something that its manifest does not allow.", _AGAIN)
            _unpack_one(archive, member, staging / member.name, described)
    if left:
        raise ArchiveError(f"{len(left)} files are missing in the back-up.", _AGAIN)
    return manifest


def _manifest(archive: tarfile.TarFile) -> BackupManifest:
    first = archive.next()
    if first is None or first.name != MANIFEST_NAME or not first.isreg() or first.size > _LARGEST_MANIFEST:
        raise ArchiveError("The file is no back-up of labels.", "Give a file that `covid-bert backup` has made.")
    content = archive.extractfile(first)
    assert content is not None  # a regular file has content
    try:
        manifest = BackupManifest.model_validate_json(content.read())
    except ValidationError as error:
        raise ArchiveError("The manifest of the back-up is damaged.", _AGAIN) from error
    if manifest.format != FORMAT:
        raise ArchiveError("The back-up was made by a newer version.", "Install that version of covid-bert.")
    return manifest


def _allowed(name: str) -> bool:
    """Whether a member's name is a plain path to the index or below the folder of labels."""
    parts = PurePosixPath(name).parts
    plain = "/".join(parts) == name and name.isprintable() and not any(odd in name for odd in ("\\", ":"))
    inside = name == INDEX_NAME or (len(parts) > 1 and parts[0] == LABELS_NAME)
    return plain and inside and ".." not in parts


def _unpack_one(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path, described: BackupFile) -> None:
    content = archive.extractfile(member)
    assert content is not None  # a regular file has content
    target.parent.mkdir(parents=True, exist_ok=True)
    if not unpack(content, target, size=described.size, sha256=described.sha256):
        raise ArchiveError("A file in the back-up was changed: its SHA-256 is not the manifest's.", _AGAIN)


def _swap(studies: Path, staging: Path) -> Path | None:
    """Move what is there aside and the new in its place; put everything back if that fails."""
    present = [name for name in (LABELS_NAME, INDEX_NAME) if os.path.lexists(studies / name)]
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S%fZ")
    aside = studies / f".before-restore-{stamp}"
    moved: list[tuple[Path, Path]] = []
    try:
        if present:
            aside.mkdir(mode=0o700)
        for name in present:
            moved.append(_moved(studies / name, aside / name))
        for name in (LABELS_NAME, INDEX_NAME):
            if (staging / name).exists():
                moved.append(_moved(staging / name, studies / name))
        sync(studies)
    except OSError:
        for source, target in reversed(moved):
            target.replace(source)
        with contextlib.suppress(OSError):
            aside.rmdir()
        raise
    return aside if present else None


def _moved(source: Path, target: Path) -> tuple[Path, Path]:
    source.replace(target)
    return source, target
