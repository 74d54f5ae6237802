"""Unpacking a zip file of DICOM files or slice images, safely."""

from __future__ import annotations

import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from covid_bert.errors import ArchiveError

_NESTED = (".zip", ".gz", ".tgz", ".tar", ".bz2", ".xz", ".7z", ".rar", ".zst")
_CHUNK = 2**20


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may grow to.

    Parameters
    ----------
    members
        Number of files.
    total_bytes
        Size of all files unpacked.
    ratio
        Unpacked size divided by packed size, checked once the unpacked size is above `ratio_from_bytes`: empty
        slices compress well, so small archives may exceed it.
    """

    members: int = 20_000
    total_bytes: int = 6 * 2**30
    ratio: float = 100.0
    ratio_from_bytes: int = 256 * 2**20


@contextmanager
def unpacked(path: Path, limits: ArchiveLimits | None = None) -> Iterator[Path]:
    """Unpack a zip file into a private temporary folder, which is removed when the block is left.

    Parameters
    ----------
    path
        The zip file.
    limits
        Limits; the defaults fit the largest chest CT studies.

    Yields
    ------
    The folder.

    Raises
    ------
    ArchiveError
        If the archive is damaged, encrypted, nested or too large, or names files outside its folder or links.
    """
    # mkdtemp makes the folder with mode 0700.
    folder = Path(tempfile.mkdtemp(prefix="covid-bert-"))
    try:
        target = folder / (path.stem.strip(".") or "study")
        target.mkdir()
        _unpack(path, target, limits or ArchiveLimits())
        yield target
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unpack(path: Path, folder: Path, limits: ArchiveLimits) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            _check_members(members, path, limits)
            remaining = sum(member.file_size for member in members)
            for member in members:
                remaining -= _extract(archive, member, folder, remaining)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise ArchiveError(
            f"'{path.name}' is damaged or cannot be unpacked.",
            "Pack the study again as a plain zip file, or give the folder.",
        ) from error


def _check_members(members: list[zipfile.ZipInfo], path: Path, limits: ArchiveLimits) -> None:
    total = sum(member.file_size for member in members)
    smaller = "Pack one CT series alone, or give the folder."
    if len(members) > limits.members:
        raise ArchiveError(f"'{path.name}' holds {len(members)} files; {limits.members} are allowed.", smaller)
    if total > limits.total_bytes:
        raise ArchiveError(f"'{path.name}' would unpack to {total / 2**30:.1f} GiB.", smaller)
    if total > limits.ratio_from_bytes and total > limits.ratio * path.stat().st_size:
        raise ArchiveError(f"'{path.name}' is compressed far more than images can be.", smaller)
    seen: set[str] = set()
    for member in members:
        reason = _refusal(member, seen)
        if reason:
            raise ArchiveError(f"'{path.name}' {reason}.", "Pack the files of the study themselves, as a plain zip.")
        seen.add(member.filename)


def _refusal(member: zipfile.ZipInfo, seen: set[str]) -> str:
    # zipfile keeps what stood before a NUL byte only; the original name shows the attempt.
    name = PurePosixPath(member.orig_filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or ":" in str(name) or "\x00" in member.orig_filename:
        return "names files outside its own folder"
    # Archives made without Unix attributes carry permissions alone, or nothing.
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
        return "contains links or special files"
    if name.name.lower().endswith(_NESTED):
        return "contains another archive"
    if member.flag_bits & 0x1:
        return "is encrypted"
    if member.filename in seen:
        return "contains two files of one name"
    return ""


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, allowed: int) -> int:
    """Write one member, counting what really comes out, and return its size."""
    target = folder.joinpath(*PurePosixPath(member.filename.replace("\\", "/")).parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with archive.open(member) as source, target.open("xb") as sink:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > allowed:
                raise zipfile.BadZipFile("a member is larger than the archive states")
            sink.write(chunk)
    return written
