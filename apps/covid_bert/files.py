"""Writing files so that a reader, a crash or a full disk never leaves half of one."""

from __future__ import annotations

import os
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


def sync(path: Path) -> None:
    """Bring a file or folder to the disk, so that a power failure cannot leave it half written."""
    if os.name == "nt" and path.is_dir():
        return  # Windows has no handle on a folder to synchronise.
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
