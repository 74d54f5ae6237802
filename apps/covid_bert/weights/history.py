"""What was live under a name, and when: one line of ``history.jsonl`` for each publication.

The file is replaced as a whole, together with the pointer that the line is about. Lines that cannot be read are passed
over: a damaged history costs ways back, never the live version.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from covid_bert.errors import BusyError
from covid_bert.files import remove_abandoned, replacing, sync
from covid_bert.weights.location import check_name, weights_root

HISTORY_FILE = "history.jsonl"
LOCK_FILE = ".publish.lock"
_PATIENCE = 30.0  # Seconds; whoever holds the lock writes two small files.


class Publication(BaseModel):
    """One line of a history.

    Parameters
    ----------
    version
        That went live; None for the one that comes with the program, whichever that is.
    time
        ISO 8601, UTC.
    by
        Name of the token, or the program that did it.
    reason
        One sentence.
    back
        Whether it went back to what was live before: the version that was live until then is taken off the way back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str | None = Field(pattern=r"^v\d{3,}$")
    time: str
    by: str = ""
    reason: str = ""
    back: bool = False

    @classmethod
    def now(cls, version: str | None, by: str, reason: str, *, back: bool = False) -> Publication:
        """Make the line of a publication of this moment."""
        time = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return cls(version=version, time=time, by=by, reason=reason, back=back)


def history(name: str) -> list[Publication]:
    """Publications of `name` that can be read, oldest first."""
    return [line for line in _lines(name) if line is not None]


def unreadable_lines(name: str) -> int:
    """How many lines of the history of `name` are damaged."""
    return sum(line is None for line in _lines(name))


def way_back(name: str) -> list[str | None]:
    """What was live one after the other, the newest last and what was rolled back left out; None is the shipped one.

    It begins with the shipped one, which is live where nothing was ever published.
    """
    stack: list[str | None] = [None]
    for line in history(name):
        if line.back:
            # All above it was left, also what was passed over because it was damaged.
            while len(stack) > 1 and stack[-1] != line.version:
                stack.pop()
        if stack[-1] != line.version:
            stack.append(line.version)
    return stack


@contextlib.contextmanager
def publishing(name: str) -> Iterator[None]:
    """Keep others from moving the pointer of `name` meanwhile.

    Raises
    ------
    BusyError
        If somebody else does not end moving it.
    OSError
        If nothing can be written.
    """
    folder = weights_root() / check_name(name)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK_FILE, timeout=_PATIENCE, mode=0o600):
            # Of processes that were killed while they moved it.
            remove_abandoned(folder)
            yield
    except Timeout as error:
        raise BusyError(f"Another version of {name} is being published.", "Try again.") from error


@contextlib.contextmanager
def with_lines(name: str, lines: list[Publication]) -> Iterator[None]:
    """Add lines if the block, which moves the pointer, ends well.

    They are on the disk before the block begins: what cannot be recorded is not done.

    Raises
    ------
    OSError
        If they cannot be written.
    """
    path = _path(name)
    before = path.read_bytes() if path.exists() else b""
    if before and not before.endswith(b"\n"):
        before += b"\n"
    with replacing(path) as temporary:
        temporary.write_bytes(before + "".join(f"{line.model_dump_json()}\n" for line in lines).encode())
        sync(temporary)
        yield


def _lines(name: str) -> list[Publication | None]:
    try:
        text = _path(name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [_line(line) for line in text.splitlines() if line.strip()]


def _line(text: str) -> Publication | None:
    try:
        return Publication.model_validate_json(text)
    except ValidationError:
        return None


def _path(name: str) -> Path:
    return weights_root() / check_name(name) / HISTORY_FILE
