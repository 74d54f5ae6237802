"""Which patients are learned from, which validate and which test: drawn once, and frozen from then on.

A person is known by several keys: what a client said, the DICOM identifier, the content of the images. Each key is
kept as a keyed hash only, together with the part that was drawn, so that neither new studies nor other shares move
anybody. Persons are joined when a study shows that they are one, and never taken apart again. Whoever may have been
learned from never judges again: see `PRECEDENCE`. A key that would join many persons stands for nobody.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import Field, ValidationError

from covid_bert.errors import BusyError, OutputError, ParameterError, UnreadableFileError
from covid_bert.files import remove_abandoned, write_private
from covid_bert.retraining.cases import Part
from covid_bert.retraining.persons import KeyKind, Persons, Place, Shares

SPLIT_NAME = ".split.json"
_LOCK_SECONDS = 60.0
_LEAST_SHARE = 1e-6


class _File(Persons):
    schema_version: Literal[1] = 1
    salt: str = Field(pattern=r"^[0-9a-f]{64}$")
    made: str


class FrozenSplit:
    """The split of one folder of studies, kept in a file.

    Parameters
    ----------
    path
        The file; made, with a salt of its own, if there is none.

    Raises
    ------
    UnreadableFileError
        If the file is damaged. It is never drawn anew then: everybody would be moved.
    BusyError
        If another process holds its lock for more than a minute.
    OutputError
        If it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content = _read(path) or self._make()

    @property
    def identity(self) -> str:
        """SHA-256 of salt and shares: what the parts of those who come next follow from."""
        shares = self._content.shares
        return hashlib.sha256(f"{self._content.salt}\n{shares.training!r}\n{shares.validation!r}".encode()).hexdigest()

    @property
    def shares(self) -> Shares:
        """The shares by which those who come next are drawn."""
        return self._content.shares

    def key(self, kind: KeyKind, text: str) -> str:
        """Return a key of a person that says nothing of who it is.

        Parameters
        ----------
        kind
            ``patient`` (what a client said), ``dicom`` (its identifier and issuer) or ``image`` (its content).
        text
            What is to be hashed; leaves this function in no other form.
        """
        digest = hmac.new(bytes.fromhex(self._content.salt), f"{kind}\0{text}".encode(), hashlib.sha256)
        return f"{kind}:{digest.hexdigest()}"

    def assign(self, studies: Sequence[Sequence[str]], wished: Sequence[Part | None] | None = None) -> list[Place]:
        """Return where studies belong, and keep it for those that come for the first time.

        Parameters
        ----------
        studies
            Keys of each study, among them that of its image.
        wished
            For each study the part that another folder has given it, or None; heeded for new persons only.

        Returns
        -------
        list[Place]
            In the order of `studies`; the same whatever that order is.

        Raises
        ------
        UnreadableFileError, BusyError, OutputError
            As at the opening.
        """
        with self._changing() as content:
            return content.assign(studies, wished or [None] * len(studies))

    def change_shares(self, shares: Shares) -> None:
        """Draw those who come next by other shares; nobody who was drawn is moved.

        Raises
        ------
        ParameterError
            If nothing is left for the test.
        UnreadableFileError, BusyError, OutputError
            As at the opening.
        """
        if shares.training + shares.validation > 1 - _LEAST_SHARE:
            raise ParameterError("The shares leave nothing to test with.", "Their sum must be below 100 %.")
        with self._changing() as content:
            content.shares = shares

    def counts(self) -> dict[Part, int]:
        """Number of persons of each part."""
        found = Counter(person.part for person in self._content.persons)
        return {part: found[part] for part in Part}

    def _make(self) -> _File:
        with self._changing():
            return self._content

    @contextmanager
    def _changing(self) -> Iterator[_File]:
        """Yield what the file holds now; it is written when the block ends well and has changed it."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self._path.with_name(".split.lock"), mode=0o600, timeout=_LOCK_SECONDS):
                remove_abandoned(self._path.parent, self._path.suffix)
                before = _read(self._path)
                content = before.model_copy(deep=True) if before is not None else _new()
                self._content = content
                yield content
                if content != before:
                    write_private(self._path, json.dumps(content.model_dump(mode="json")))
        except Timeout as error:
            raise BusyError("Another program holds the lock of the split.", "Try again later.") from error
        except OSError as error:
            raise OutputError(
                f"The split of the studies cannot be written: {error.strerror}.",
                "Make room on the disk, or allow this user to write into the folder of labels.",
            ) from error


def _new() -> _File:
    made = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return _File(salt=secrets.token_hex(32), shares=Shares(), made=made)


def _read(path: Path) -> _File | None:
    try:
        return _File.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise UnreadableFileError(
            f"The split of the patients ({SPLIT_NAME}) is damaged or cannot be read.",
            "Bring it back from a back-up of the labels. Drawn anew, it would let cases of the test into the training.",
        ) from error
