"""Writing files so that a reader, a crash or a full disk never leaves half of one."""

from __future__ import annotations

import contextlib
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that becomes `path`, whole and on disk, when the block ends well.

    The temporary name is hidden, cannot be guessed and keeps the suffixes, which writers look at.

    Raises
    ------
    OSError
        If it cannot be written; what was at `path` before is then still there.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}{''.join(path.suffixes[-2:])}")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a small file (text as UTF-8) by `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def write_private(path: Path, content: bytes | str) -> None:
    """Write a small file (text as UTF-8) by `replacing`, with mode 0600 from its first moment."""
    with replacing(path) as temporary:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)


def sync(path: Path) -> None:
    """Bring a file or folder to the disk, so that a power failure cannot leave it half written."""
    if os.name == "nt" and path.is_dir():
        return  # Windows has no handle on a folder to synchronise.
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_temporary(path: Path) -> bool:
    """Return whether a file's name is one of those that `replacing` makes."""
    return path.is_file() and re.fullmatch(r"\.[0-9a-f]{32}(\..*)?", path.name) is not None


def remove_abandoned(folder: Path, suffix: str = "", *, seconds: float = 0.0) -> None:
    """Remove what killed processes left of `replacing`; a file that cannot be removed stays.

    Parameters
    ----------
    folder
        Where the files were to be. The caller holds the lock of all who write there, or gives them time.
    suffix
        Of the files; empty for all.
    seconds
        Age from which on nobody writes a file any more.
    """
    for path in folder.glob(f".*{suffix}"):
        with contextlib.suppress(OSError):
            if is_temporary(path) and path.stat().st_mtime <= time.time() - seconds:
                path.unlink()
