"""Checksums, and what the operating system's errors mean for weights."""

from __future__ import annotations

import errno
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from covid_bert.errors import UnwrittenWeightsError
from covid_bert.progress import Progress

_BLOCK = 1 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}

_verified: dict[tuple[str, int, int], str] = {}
_verified_lock = threading.Lock()


def sha256_of(path: Path, progress: Progress | None = None, stage: str = "checksum") -> str:
    """SHA-256 of a file as 64 hexadecimal digits.

    Raises
    ------
    CancelledError
        If the user cancelled.
    OSError
        If the file cannot be read.
    """
    digest = hashlib.sha256()
    size = max(path.stat().st_size, 1)
    done = 0
    with path.open("rb") as handle:
        while block := handle.read(_BLOCK):
            digest.update(block)
            done += len(block)
            if progress is not None:
                progress.update(stage, done / size)
    return digest.hexdigest()


def remembered_sha256(path: Path) -> str:
    """SHA-256 of a file, computed again only when its size or time of change is another.

    Every request to a server names its weights by checksum; reading 250 MB each time would cost more than a clip.
    """
    status = path.stat()
    key = (str(path.resolve()), status.st_size, status.st_mtime_ns)
    with _verified_lock:
        known = _verified.get(key)
    if known is None:
        known = sha256_of(path)
        with _verified_lock:
            _verified[key] = known
    return known


@contextmanager
def explained(action: str) -> Iterator[None]:
    """Turn the operating system's errors of the enclosed block into `UnwrittenWeightsError`.

    Parameters
    ----------
    action
        What was being done, as in ``"install the weights"``.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            hint = "The disk is full: free some space, or set COVID_BERT_HOME to a folder on a larger disk."
        elif error.errno in _FORBIDDEN:
            hint = "The folder may not be written to: set COVID_BERT_HOME to one that may."
        else:
            hint = "Check the folder that COVID_BERT_HOME names."
        reason = error.strerror or type(error).__name__
        raise UnwrittenWeightsError(f"Could not {action}: {reason}.", hint) from error
