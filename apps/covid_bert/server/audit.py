"""The audit log: who changed what, in lines that are only ever added and cannot be changed unnoticed.

Each line holds a seal, a keyed hash (HMAC-SHA-256) of the line and of the seal before it; a file beside the log holds
the last seal. The key lies in the same folder, so this finds damage and changes by whoever has no access to the key.
A study is named by a keyed hash only.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from covid_bert.errors import CovidBertError, OutputError, ServerError
from covid_bert.files import remove_abandoned, sync, write_private
from covid_bert.weights.location import home

logger = logging.getLogger(__name__)

CURRENT = "audit.jsonl"
ROTATED = "audit-[0-9]*.jsonl"
HEAD = "head.json"
START = "0" * 64
# The outcome that the line before a change names; one with the outcome itself follows.
BEGUN = "begun"
_KEY_BYTES = 32
_MEGABYTE = 2**20
_LONGEST_LINE = 2**16
_LOCK_SECONDS = 10.0
_WITHOUT_KEY = (
    "Bring it back from a copy. Where there is none, move the log's folder elsewhere: a new log is begun then, and the "
    "old one can no longer be checked."
)


def default_audit_folder() -> Path:
    """The folder of the audit log, in the program's data folder."""
    return home() / "audit"


class AuditKey:
    """The key of one audit log.

    Parameters
    ----------
    folder
        Of the log.

    Raises
    ------
    ServerError
        If the folder has no key, or a damaged one.
    """

    def __init__(self, folder: Path) -> None:
        try:
            content = (folder / "key").read_bytes()
        except PermissionError as error:
            raise ServerError(
                "The audit log belongs to another user.",
                "Run this as that user (sudo -u), or choose another data folder with COVID_BERT_HOME.",
            ) from error
        except OSError as error:
            raise ServerError(f"The key of the audit log cannot be read: {error.strerror}.", _WITHOUT_KEY) from error
        if len(content) != _KEY_BYTES:
            raise ServerError("The key of the audit log is damaged.", _WITHOUT_KEY)
        self._content = content

    def seal(self, line: Mapping[str, Any]) -> str:
        """Return the seal of a line without one: 64 hexadecimal digits."""
        return self._hash("line", json.dumps(line, sort_keys=True))

    def head_seal(self, number: int, seal: str) -> str:
        """Return the seal of the note on the last line."""
        return self._hash("head", f"{number} {seal}")

    def name(self, study: str) -> str:
        """Return the name of a study in this log: 32 hexadecimal digits that cannot be made without the key."""
        return self._hash("study", study)[:32]

    def _hash(self, purpose: str, text: str) -> str:
        content = f"{purpose}\0{text}".encode("utf-8", "surrogateescape")
        return hmac.new(self._content, content, hashlib.sha256).hexdigest()


class AuditLog:
    """The audit log of a folder, which several processes may add to.

    Parameters
    ----------
    folder
        Made with mode 0700 at the first line; its files have mode 0600.
    megabytes
        Size, in 2^20 bytes, above which a new file is begun; no file is ever removed.
    """

    def __init__(self, folder: Path, *, megabytes: float = 16) -> None:
        self.folder = folder
        self._limit = int(megabytes * _MEGABYTE)

    def append(
        self,
        action: str,
        *,
        outcome: str = "done",
        token: str | None = None,
        role: str | None = None,
        study: str | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a line, which is on the disk when this returns.

        Parameters
        ----------
        action
            What was done.
        outcome
            How it ended.
        token, role
            Who did it; None for what the operator does on the server itself.
        study
            Id of the study that it is about; only its keyed hash is kept.
        facts
            Further facts, as JSON, without anything of a patient.

        Raises
        ------
        OutputError
            If it cannot be written; the log is then as before.
        ServerError
            If its key is lost.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with FileLock(self.folder / "lock", mode=0o600, timeout=_LOCK_SECONDS):
                remove_abandoned(self.folder)
                key = self._key()
                number, previous = self._last(key)
                line = {
                    "number": number + 1,
                    "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
                    "action": action,
                    "outcome": outcome,
                    "token": token,
                    "role": role,
                    "study": None if study is None else key.name(study),
                    **(facts or {}),
                    "previous": previous,
                }
                seal = key.seal(line)
                self._write(json.dumps({**line, "seal": seal}) + "\n", number)
                self._write_head(key, number + 1, seal)
        except (OSError, Timeout) as error:
            reason = getattr(error, "strerror", None) or "another process holds it"
            raise OutputError(
                f"The audit log cannot be written: {reason}.", "Free disk space, or mend the folder's permissions."
            ) from error

    @contextmanager
    def change(self, action: str, **who_and_what: Any) -> Iterator[None]:
        """Add a line before the block, which makes a change, and one with its outcome after it.

        Parameters
        ----------
        action, **who_and_what
            As for `append`, without the outcome.

        Raises
        ------
        OutputError, ServerError
            If the first line cannot be written; the block is not run then. The second one is tried only.
        """
        self.append(action, outcome=BEGUN, **who_and_what)
        outcome = "failed"
        try:
            yield
            outcome = "done"
        finally:
            try:
                self.append(action, outcome=outcome, **who_and_what)
            except CovidBertError as error:
                logger.error("The outcome of a change is missing in the audit log: %s", error)

    def files(self) -> list[Path]:
        """The files of the log, oldest first."""
        current = self.folder / CURRENT
        return [*sorted(self.folder.glob(ROTATED)), *([current] if current.exists() else [])]

    def _key(self) -> AuditKey:
        path = self.folder / "key"
        # Where there are lines already, a new key would hide that they can no longer be checked.
        if not path.exists() and not self.files():
            write_private(path, secrets.token_bytes(_KEY_BYTES))
        return AuditKey(self.folder)

    def _last(self, key: AuditKey) -> tuple[int, str]:
        """Number and seal of the last line: by the note, or by the file where a kill came between the two."""
        noted = read_head(self.folder, key) or (0, START)
        files = self.files()
        found = _last_line(files[-1]) if files else (0, START)
        return found if found[0] > noted[0] else noted

    def _write(self, line: str, number: int) -> None:
        path = self.folder / CURRENT
        if path.exists() and path.stat().st_size + len(line) > self._limit:
            path.replace(self.folder / f"audit-{number:012}.jsonl")
        new = not path.exists()
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            size = _cut_torn_line(handle)
            try:
                content = line.encode()
                while content:
                    content = content[os.write(handle, content) :]
                os.fsync(handle)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(handle, size)
                raise
        finally:
            os.close(handle)
        if new:
            sync(self.folder)

    def _write_head(self, key: AuditKey, number: int, seal: str) -> None:
        content = {"number": number, "seal": seal, "proof": key.head_seal(number, seal)}
        # A line without its note is still found, so a full disk at this point loses nothing.
        with contextlib.suppress(OSError):
            write_private(self.folder / HEAD, json.dumps(content) + "\n")


def read_head(folder: Path, key: AuditKey) -> tuple[int, str] | None:
    """Return number and seal of the last line as noted, or None if there is no genuine note."""
    try:
        noted = json.loads((folder / HEAD).read_bytes())
        number, seal, proof = int(noted["number"]), str(noted["seal"]), str(noted["proof"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (number, seal) if hmac.compare_digest(key.head_seal(number, seal), proof) else None


def parse(line: bytes) -> dict[str, Any] | None:
    """Return a line of the log, or None if it is none."""
    try:
        content = json.loads(line)
    except ValueError:
        return None
    known = isinstance(content, dict) and isinstance(content.get("number"), int)
    return content if known and isinstance(content.get("seal"), str) else None


def lines_of(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file; without a line break at its end, the last one was not written to its end."""
    with path.open("rb") as file:
        yield from file


def _last_line(path: Path) -> tuple[int, str]:
    """Number and seal of the last whole line of a file, as far as it can be read."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2 * _LONGEST_LINE))
        whole = file.read().rpartition(b"\n")[0]
    content = parse(whole.rpartition(b"\n")[2])
    return (0, START) if content is None else (content["number"], content["seal"])


def _cut_torn_line(handle: int) -> int:
    """Take off what a kill or power failure left of a line, which nobody was told of; return the file's size."""
    size = os.fstat(handle).st_size
    begin = max(0, size - _LONGEST_LINE)
    os.lseek(handle, begin, os.SEEK_SET)
    tail = os.read(handle, size - begin)
    whole = begin + tail.rfind(b"\n") + 1
    if tail and whole < size:
        os.ftruncate(handle, whole)
        return whole
    return size
