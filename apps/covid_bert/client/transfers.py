"""Files on their way: uploads streamed from the disk, downloads written whole or not at all."""

from __future__ import annotations

import io
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPResponse, IncompleteRead
from pathlib import Path

from .answers import invalid_answer
from .backoff import Cancelled, calling, check_cancelled
from .errors import InvalidRequestError, LocalFileError

OnFraction = Callable[[float], None]

DOWNLOAD_LIMIT_BYTES = 4 * 2**30

# The kinds of files that a study can be. Of a file's name only this goes to the server: names may hold patients'.
_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".zip")
_PIECE_BYTES = 64 * 2**10


def study_suffix(name: str) -> str | None:
    """Return the kind of a file that can be a study, for example ``".nii.gz"``, or None."""
    return next((known for known in _SUFFIXES if name.lower().endswith(known)), None)


class FileBody:
    """A file as the body of a multipart request, read from the disk while it is sent.

    Parameters
    ----------
    path
        The file.
    field
        Name of the form's field that holds it.
    stem
        The name that is sent in place of the file's, without its kind.
    on_progress
        Called with the finished fraction in [0, 1].
    cancelled
        Asked before each piece of 64 KiB.

    Raises
    ------
    InvalidRequestError
        If it is a folder, or of a kind that is no study.
    LocalFileError
        If there is no such file.
    """

    def __init__(
        self,
        path: Path,
        field: str,
        on_progress: OnFraction | None = None,
        cancelled: Cancelled | None = None,
        *,
        stem: str = "study",
    ) -> None:
        suffix = study_suffix(path.name)
        if path.is_dir():
            raise InvalidRequestError("A folder cannot be uploaded.", "Pack the files of one series as a .zip file.")
        if suffix is None:
            raise InvalidRequestError(
                "A file of this kind cannot be uploaded.", f"Give one that ends in {', '.join(_SUFFIXES)}."
            )
        with local_file("read"):
            self._size = path.stat().st_size
        boundary = uuid.uuid4().hex
        self._path = path
        self._on_progress = on_progress
        self._cancelled = cancelled
        self._head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{stem}{suffix}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode("ascii")
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self.length = len(self._head) + self._size + len(self._tail)

    def pieces(self) -> Iterator[bytes]:
        """The form with the file in pieces of at most 64 KiB.

        Raises
        ------
        LocalFileError
            If the file cannot be read, or is no longer of the size that was announced.
        CancelledError
            If the user cancelled.
        """
        yield self._head
        with local_file("read"):
            file = self._path.open("rb")
        with file:
            sent = 0
            while sent < self._size:
                with calling():
                    check_cancelled(self._cancelled)
                with local_file("read"):
                    piece = file.read(min(_PIECE_BYTES, self._size - sent))
                if not piece:
                    raise LocalFileError("The file became shorter while it was sent.", "Try again when it is complete.")
                yield piece
                sent += len(piece)
                _tell(self._on_progress, sent, self._size)
        with calling():
            check_cancelled(self._cancelled)
        yield self._tail


def receive_file(
    response: HTTPResponse,
    target: Path,
    *,
    limit_bytes: int,
    on_progress: OnFraction | None = None,
    cancelled: Cancelled | None = None,
) -> None:
    """Write the body of an answer to a file, which is replaced when all of it is on the disk.

    Parameters
    ----------
    response
        The answer; the name that it gives its file is not looked at.
    target
        The file.
    limit_bytes
        Size from which on the answer is refused.
    on_progress
        Called with the finished fraction in [0, 1], where the server says how long the file is.
    cancelled
        Asked before each piece.

    Raises
    ------
    InvalidAnswerError
        If the answer is larger than allowed, compressed, or without a way to know its end.
    LocalFileError
        If the file cannot be written.
    CancelledError
        If the user cancelled.
    """
    # Taken now: http.client counts `length` down in some versions of Python and not in others.
    expected = response.length
    if expected is None and not response.chunked:
        raise invalid_answer("does not say how long it is")
    if response.getheader("Content-Encoding", "identity") != "identity":
        raise invalid_answer("is compressed, which was not asked for")
    if expected is not None and expected > limit_bytes:
        raise invalid_answer(f"is larger than {limit_bytes // 2**20} MiB")
    with _replacing(target) as temporary:
        received = 0
        while expected is None or received < expected:
            with calling():
                check_cancelled(cancelled)
            piece = response.read1(_PIECE_BYTES if expected is None else min(_PIECE_BYTES, expected - received))
            if not piece:
                break
            received += len(piece)
            if received > limit_bytes:
                raise invalid_answer(f"is larger than {limit_bytes // 2**20} MiB")
            _write(temporary, piece)
            if expected is not None:
                _tell(on_progress, received, expected)
        if expected is not None and received < expected:
            raise IncompleteRead(b"", expected - received)


@contextmanager
def local_file(verb: str) -> Iterator[None]:
    """Turn failures of this machine's files into `LocalFileError`; ``verb`` is ``"read"`` or ``"write"``."""
    try:
        yield
    except OSError as error:
        raise LocalFileError(
            f"The file on this machine cannot be {'read' if verb == 'read' else 'written'}: {error.strerror}.",
            "Check its folder, its permissions and the free space.",
        ) from error


@contextmanager
def _replacing(target: Path) -> Iterator[io.FileIO]:
    """Yield a new file, for this user only, that takes the target's name when the block ends well."""
    with local_file("write"):
        handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=target.parent)
    temporary = Path(name)
    try:
        # Without a buffer, which would fail a second time on closing when the disk is full.
        with io.FileIO(handle, "wb") as file:
            yield file
            with local_file("write"):
                os.fsync(file.fileno())
        with local_file("write"):
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _write(file: io.FileIO, piece: bytes) -> None:
    rest = memoryview(piece)
    with local_file("write"):
        while rest:
            rest = rest[file.write(rest) :]


def _tell(on_progress: OnFraction | None, done: int, total: int) -> None:
    if on_progress is not None:
        with calling():
            on_progress(done / total)
