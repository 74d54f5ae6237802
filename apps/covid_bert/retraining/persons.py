"""Who is one person by the keys of studies, and to which part of the split a person belongs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from covid_bert.retraining.cases import Part

KeyKind = Literal["patient", "dicom", "image"]
# From the one that says most of who a person is.
KINDS: tuple[KeyKind, ...] = ("patient", "dicom", "image")
# Of persons who turn out to be one: what was learned from can never judge, what was held out may be learned from; and
# what decided when a training ended can never test.
PRECEDENCE = (Part.TRAINING, Part.VALIDATION, Part.TEST)
# Images of one value of ``patient`` or of one DICOM identifier, those of one identifier counted once for ``patient``. A
# person rarely has more than some CTs labelled; a value that a program puts in place of a name soon has more than this.
MOST_JOINED = 20
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


class Person(BaseModel):
    """One person: part, and keys, of which the first one names the person."""

    model_config = ConfigDict(extra="forbid")

    part: Part
    keys: list[str] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _of_before(cls, record: Any) -> Any:
        # Once, images of another part were set aside. They may have been learned from: the person cannot judge.
        if isinstance(record, dict) and "withdrawn" in record:
            aside = record["withdrawn"]
            record = {name: value for name, value in record.items() if name != "withdrawn"}
            return {**record, "part": Part.TRAINING} if aside else record
        return record


@dataclass(frozen=True)
class Place:
    """Where a study belongs.

    Parameters
    ----------
    part
        Of the split.
    patient
        Key of the person; equal for all studies of one.
    doubtful
        Kinds of those keys of the study that too many others have, so that they do not say whose it is.
    """

    part: Part
    patient: str
    doubtful: tuple[KeyKind, ...] = ()


class Persons(BaseModel):
    """Everybody who was ever drawn.

    Parameters
    ----------
    shares
        By which those who come next are drawn.
    persons
        In the order in which they were drawn.
    doubtful
        Keys that join nobody any more.
    """

    model_config = ConfigDict(extra="forbid")

    shares: Shares
    persons: list[Person] = []
    doubtful: list[str] = []

    def assign(self, studies: Sequence[Sequence[str]], wished: Sequence[Part | None]) -> list[Place]:
        """Draw those who are new and join those who are one; see `covid_bert.retraining.split.FrozenSplit.assign`."""
        doubtful = {*self.doubtful, *_doubtful(studies, set(self.doubtful))}
        self.doubtful = sorted(doubtful)
        telling = [_without(keys, doubtful) for keys in studies]
        places = self._joined(telling, wished)
        self.persons = list({id(person): person for person in places.values()}.values())
        return [
            Place(person.part, person.keys[0].partition(":")[2], _kinds(doubtful.intersection(keys)))
            for keys, person in zip(studies, (places[keys[0]] for keys in telling), strict=True)
        ]

    def _joined(self, studies: Sequence[Sequence[str]], wished: Sequence[Part | None]) -> dict[str, Person]:
        """Return the person of each key, with the studies' keys added and persons joined who are one."""
        known = {key: person for person in self.persons for key in person.keys}
        numbers = {id(person): number for number, person in enumerate(self.persons)}
        before = [_without(person.keys, self.doubtful) for person in self.persons]
        for members in _components(studies, before):
            keys = {key for index in members for key in studies[index]}
            met = sorted({numbers[id(known[key])] for key in keys if key in known})
            first, *others = [self.persons[number] for number in met] or [
                self._drawn(keys, [wished[index] for index in members])
            ]
            first.part = min((person.part for person in (first, *others)), key=PRECEDENCE.index)
            first.keys += [key for other in others for key in other.keys]
            first.keys += sorted(keys.difference(first.keys))
            known.update(dict.fromkeys(first.keys, first))
        return known

    def _drawn(self, keys: Iterable[str], wished: Iterable[Part | None]) -> Person:
        """Return a new person, drawn by the key that says most of who it is."""
        first = min(keys, key=lambda key: (KINDS.index(_kind(key)), key))
        number = int(first.partition(":")[2][:_DIGITS], 16) / 16**_DIGITS
        wishes = sorted((part for part in wished if part is not None), key=PRECEDENCE.index)
        return Person(part=wishes[0] if wishes else self.shares.part(number), keys=[first])


def _doubtful(studies: Sequence[Sequence[str]], known: set[str]) -> set[str]:
    """Return the keys, beside those that are known, that would join too many studies which others tell apart."""
    found: set[str] = set()
    # Identifiers in files first: what clients say is held against those that can be one person's.
    telling_of: dict[KeyKind, tuple[KeyKind, ...]] = {"dicom": ("image",), "patient": ("image", "dicom")}
    for kind, telling in telling_of.items():
        leader = _leaders([_without(keys, known | found, telling) for keys in studies])
        apart: dict[str, set[str]] = {}
        for keys in studies:
            for key in _without(keys, known, (kind,)):
                apart.setdefault(key, set()).update(leader(image) for image in _without(keys, (), ("image",)))
        found |= {key for key, groups in apart.items() if len(groups) > MOST_JOINED}
    return found


def _without(keys: Iterable[str], others: Collection[str], kinds: Collection[str] = KINDS) -> list[str]:
    return [key for key in keys if key not in others and _kind(key) in kinds]


def _kind(key: str) -> str:
    return key.partition(":")[0]


def _kinds(keys: Collection[str]) -> tuple[KeyKind, ...]:
    return tuple(kind for kind in KINDS if any(_kind(key) == kind for key in keys))


def _components(studies: Sequence[Sequence[str]], persons: Sequence[Sequence[str]]) -> list[list[int]]:
    """Return the indices of the studies of each person: studies that keys connect, also through persons of before."""
    leader = _leaders([*persons, *studies])
    members: dict[str, list[int]] = {}
    for index, keys in enumerate(studies):
        members.setdefault(leader(keys[0]), []).append(index)
    # Sorted, so that whoever is listed first is not who is drawn first.
    return sorted(members.values(), key=lambda indices: min(min(studies[index]) for index in indices))


def _leaders(connected: Iterable[Sequence[str]]) -> Callable[[str], str]:
    """Return what names one key of all those that lists of keys connect with a key."""
    leader: dict[str, str] = {}

    def find(key: str) -> str:
        while leader.setdefault(key, key) != key:
            leader[key] = leader[leader[key]]
            key = leader[key]
        return key

    for keys in connected:
        for key in keys[1:]:
            leader[find(key)] = find(keys[0])
    return find
