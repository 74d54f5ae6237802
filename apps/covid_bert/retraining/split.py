"""Which patients are learned from, which validate and which test: drawn once, and frozen from then on.

A person is known by several keys: what a client said, the DICOM identifier, the content of the images. Each key is
kept as a keyed hash only, together with the part that was drawn, so that neither new studies nor other shares move
anybody. Persons are joined when a study shows that they are one, and never taken apart again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from covid_bert.errors import BusyError, OutputError, ParameterError, UnreadableFileError
from covid_bert.files import remove_abandoned, write_private
from covid_bert.retraining.cases import Part

SPLIT_NAME = ".split.json"
KeyKind = Literal["patient", "dicom", "image"]
# From the one that says most of who a person is.
_KINDS = ("patient", "dicom", "image")
_LOCK_SECONDS = 60.0
_DIGITS = 13


class Shares(BaseModel):
    """Which share of the patients goes where; the rest tests.

    Parameters
    ----------
    training, validation
        Above 0, together below 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: float = Field(default=0.6, gt=0, lt=1)
    validation: float = Field(default=0.2, gt=0, lt=1)

    def part(self, number: float) -> Part:
        """The part of a number in [0, 1)."""
        if number < self.training:
            return Part.TRAINING
        return Part.VALIDATION if number < self.training + self.validation else Part.TEST


class _Person(BaseModel):
    """One person: part, keys (the first one names the person), and the images that are never used again."""

    model_config = ConfigDict(extra="forbid")

    part: Part
    keys: list[str] = Field(min_length=1)
    withdrawn: list[str] = []


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    salt: str = Field(pattern=r"^[0-9a-f]{64}$")
    shares: Shares
    made: str
    persons: list[_Person] = []


@dataclass(frozen=True)
class Place:
    """Where a study belongs.

    Parameters
    ----------
    part
        Of the split.
    patient
        Key of the person; equal for all studies of one.
    withdrawn
        Whether the study may not be used: it had been given to another part before it turned out whose it is.
    """

    part: Part
    patient: str
    withdrawn: bool = False


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
            persons = _joined(content, studies, wished or [None] * len(studies))
            content.persons = list({id(person): person for person in persons.values()}.values())
        return [_place(persons[keys[0]], keys) for keys in studies]

    def change_shares(self, shares: Shares) -> None:
        """Draw those who come next by other shares; nobody who was drawn is moved.

        Raises
        ------
        ParameterError
            If nothing is left for the test.
        UnreadableFileError, BusyError, OutputError
            As at the opening.
        """
        if shares.training + shares.validation >= 1:
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


def _joined(content: _File, studies: Sequence[Sequence[str]], wished: Sequence[Part | None]) -> dict[str, _Person]:
    """Return the person of each key, with the studies' keys added and persons joined who are one."""
    known = {key: number for number, person in enumerate(content.persons) for key in person.keys}
    persons: dict[str, _Person] = {key: content.persons[number] for key, number in known.items()}
    for members in _components(studies, content.persons):
        keys = {key for index in members for key in studies[index]}
        numbers = sorted({known[key] for key in keys if key in known})
        first = content.persons[numbers[0]] if numbers else _drawn(content, keys, [wished[index] for index in members])
        aside = set(first.withdrawn)
        for other in (content.persons[number] for number in numbers[1:]):
            aside |= set(other.withdrawn) | (_images(other.keys) if other.part is not first.part else set())
            first.keys += other.keys
        if not numbers:
            elsewhere = (studies[index] for index in members if wished[index] not in (None, first.part))
            aside |= {key for study in elsewhere for key in _images(study)}
        first.withdrawn = sorted(aside)
        first.keys += sorted(keys - set(first.keys))
        persons.update(dict.fromkeys(first.keys, first))
    return persons


def _components(studies: Sequence[Sequence[str]], persons: Iterable[_Person]) -> list[list[int]]:
    """Return the indices of the studies of each person: studies that keys connect, also through persons of before."""
    leader: dict[str, str] = {}

    def find(key: str) -> str:
        while leader.setdefault(key, key) != key:
            leader[key] = leader[leader[key]]
            key = leader[key]
        return key

    for keys in [*(person.keys for person in persons), *studies]:
        for key in keys[1:]:
            leader[find(key)] = find(keys[0])
    members: dict[str, list[int]] = {}
    for index, keys in enumerate(studies):
        members.setdefault(find(keys[0]), []).append(index)
    # Sorted, so that whoever is listed first is not who is drawn first.
    return sorted(members.values(), key=lambda indices: min(min(studies[index]) for index in indices))


def _images(keys: Iterable[str]) -> set[str]:
    return {key for key in keys if key.startswith("image:")}


def _drawn(content: _File, keys: Iterable[str], wished: Iterable[Part | None]) -> _Person:
    """Return a new person, drawn by the key that says most of who it is."""
    first = min(keys, key=lambda key: (_KINDS.index(key.partition(":")[0]), key))
    number = int(first.partition(":")[2][:_DIGITS], 16) / 16**_DIGITS
    wishes = sorted({part.value for part in wished if part is not None})
    return _Person(part=Part(wishes[0]) if wishes else content.shares.part(number), keys=[first])


def _place(person: _Person, keys: Sequence[str]) -> Place:
    withdrawn = any(key in person.withdrawn for key in keys)
    return Place(person.part, person.keys[0].partition(":")[2], withdrawn)
