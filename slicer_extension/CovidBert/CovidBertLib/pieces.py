"""Arrays copied at once and written in pieces, so that the window draws and hears the mouse in between."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import qt

from .i18n import tr as _
from .problems import CovidBertError

# A piece takes some hundredths of a second at most; what is smaller than one is written at once.
PIECE_BYTES = 8 * 2**20
_OWNER_ONLY = 0o600


class Memory:
    """Memory for copies of arrays.

    New memory is slow at its first touch, up to a second for a large volume; so it is touched in pieces, and then the
    arrays are copied in one go: whatever is edited before or after, all of a copy is of one moment.
    """

    def __init__(self) -> None:
        self._buffers: list[np.ndarray] = []

    def reserve(self, sizes_bytes: Iterable[int]) -> Iterator[int]:
        """Take memory for arrays of these sizes, and yield the bytes of each piece.

        Raises
        ------
        CovidBertError
            If it does not suffice.
        """
        for size in sizes_bytes:
            buffer = _empty(size)
            for start in range(0, size, PIECE_BYTES):
                piece = buffer[start : start + PIECE_BYTES]
                piece.fill(0)
                yield len(piece)
            self._buffers.append(buffer)

    def copy(self, array: np.ndarray) -> np.ndarray:
        """Return a copy of an array, in memory that was reserved where its size is still the same."""
        place = next((place for place, buffer in enumerate(self._buffers) if len(buffer) == array.nbytes), None)
        buffer = _empty(array.nbytes) if place is None else self._buffers.pop(place)
        copied = buffer.view(array.dtype).reshape(array.shape)
        np.copyto(copied, array)
        return copied


def _empty(size_bytes: int) -> np.ndarray:
    try:
        return np.empty(size_bytes, np.uint8)
    except MemoryError as error:
        raise CovidBertError(
            _("The memory does not suffice for a copy of the volume."),
            _("Close other volumes or programs, then try again."),
            "out-of-memory",
        ) from error


def slabs(array: np.ndarray) -> Iterator[np.ndarray]:
    """Yield an array (k, j, i) in pieces of whole slices."""
    count = max(1, PIECE_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), count):
        yield array[start : start + count]


def write_pieces(parts: Iterable[np.ndarray], path: Path) -> Iterator[int]:
    """Write arrays one after the other to a file that only this user can read.

    Yields
    ------
    The bytes of each part, once it is written.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    handle = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | getattr(os, "O_BINARY", 0), _OWNER_ONLY)
    with os.fdopen(handle, "wb", buffering=0) as file:
        for part in parts:
            rest = memoryview(np.ascontiguousarray(part)).cast("B")
            size = len(rest)
            while rest:
                rest = rest[file.write(rest) :]
            yield size


class Copy(Protocol):
    """What is copied from nodes and written."""

    @property
    def size_bytes(self) -> int:
        """Bytes in memory that are copied."""

    def reserve(self) -> Iterator[int]:
        """Take the memory, and yield the bytes of each piece."""

    def take(self) -> None:
        """Copy the nodes as they are now."""

    def write(self) -> Iterator[int]:
        """Write the copy, let its memory go, and yield the bytes of memory that each piece was made of."""


def copy_in_pieces(copies: Sequence[Copy]) -> Iterator[float]:
    """Copy nodes, each in one go, and write them; yield now and then which fraction of the whole is done."""
    total = 2 * sum(copy.size_bytes for copy in copies)
    done = since = 0
    for sizes in (*map(_taken, copies), *(copy.write() for copy in copies)):
        for size in sizes:
            done, since = done + size, since + size
            if since >= PIECE_BYTES // 2:
                yield min(1.0, done / total)
                since = 0


def _taken(copy: Copy) -> Iterator[int]:
    yield from copy.reserve()
    copy.take()


class Pieces:
    """Work that is done in pieces, one each turn of the event loop.

    Parameters
    ----------
    steps
        Does a piece each time it is asked, and says which fraction of the whole is done.
    done
        Called when all is done: by `start` itself where it is a single piece.
    failed
        Called with the problem if a piece fails.
    progress
        Called with the fraction after each piece but the last.
    """

    def __init__(
        self,
        steps: Iterator[float],
        *,
        done: Callable[[], None],
        failed: Callable[[CovidBertError], None],
        progress: Callable[[float], None],
    ) -> None:
        self._steps = steps
        self._done, self._failed, self._progress = done, failed, progress
        self._is_running = True

    def start(self) -> None:
        """Do the first piece."""
        self._next()

    def stop(self) -> None:
        """Do nothing any more; nothing is called back."""
        self._is_running = False
        if hasattr(self._steps, "close"):
            self._steps.close()

    def _next(self) -> None:
        if not self._is_running:
            return
        try:
            fraction = next(self._steps, None)
        except Exception as error:
            self._is_running = False
            self._failed(error if isinstance(error, CovidBertError) else _unexpected(error))
            return
        if fraction is None:
            self.stop()
            self._done()
            return
        qt.QTimer.singleShot(0, self._next)
        self._progress(fraction)


def _unexpected(error: Exception) -> CovidBertError:
    message = _("The panel failed: {error}.").format(error=type(error).__name__)
    return CovidBertError(message, _("Report this line to who maintains the extension."), "panel-error")
