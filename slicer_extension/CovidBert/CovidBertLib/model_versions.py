"""The versions of the server's models: which is live, which may be, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .fields import Fields

LIVE, CANDIDATE, DAMAGED = "live", "candidate", "damaged"


@dataclass(frozen=True)
class Measure:
    """One number with its 95 % interval and its patients, where they were recorded, and what it was measured on."""

    name: str
    value: float
    lower: float | None
    upper: float | None
    patients: int | None
    data: str


@dataclass(frozen=True)
class Gate:
    """Whether a version may go live, why, and by which rule."""

    passed: bool
    reason: str
    rule: str


@dataclass(frozen=True)
class ModelVersion:
    """One version of a model's weights.

    Parameters
    ----------
    version
        As ``v002``.
    state
        ``live``, ``candidate``, ``former``, ``shipped`` or ``damaged``.
    created
        When it was made, in UTC; "" where that cannot be read.
    trained_on
        For people.
    is_demonstration
        Whether it is for demonstration only.
    measures
        On studies that it was not trained on; empty for versions that were not trained on this server.
    gate
        None for versions that never met it.
    needs_word
        Why it goes live only if somebody says so in spite of that; None where it needs no such word.
    """

    version: str
    state: str
    created: str
    trained_on: str
    is_demonstration: bool
    measures: tuple[Measure, ...]
    gate: Gate | None
    needs_word: str | None


@dataclass(frozen=True)
class Model:
    """A model with its versions, the newest first; `warning` says why another than the live one is served."""

    name: str
    live: str | None
    warning: str | None
    versions: tuple[ModelVersion, ...]

    def version(self, name: str | None) -> ModelVersion | None:
        """Return the version of a name, None if there is none."""
        return next((version for version in self.versions if version.version == name), None)


def read_models(answer: Mapping[str, Any]) -> tuple[Model, ...]:
    """Read the list that a server sends.

    Raises
    ------
    ResultError
        If a value is missing or not of its kind.
    """
    return Fields(answer, "weights").list_of("models", _model)


def _model(fields: Fields) -> Model:
    return Model(
        fields.text("model"),
        fields.optional("live", fields.text),
        fields.optional("warning", fields.text),
        fields.list_of("versions", _version),
    )


def _version(fields: Fields) -> ModelVersion:
    return ModelVersion(
        version=fields.text("version"),
        state=fields.text("state"),
        created=fields.optional("created", fields.text) or "",
        trained_on=fields.text("trained_on"),
        is_demonstration=bool(fields.optional("demonstration", fields.flag)),
        measures=fields.list_of("metrics", _measure),
        gate=fields.optional("gate", lambda name: _gate(fields.inner(name))),
        needs_word=fields.optional("needs_word", fields.text),
    )


def _measure(fields: Fields) -> Measure:
    return Measure(
        fields.text("measure"),
        fields.number("value"),
        fields.optional("lower", fields.number),
        fields.optional("upper", fields.number),
        fields.optional("patients", fields.whole),
        fields.text("data"),
    )


def _gate(fields: Fields) -> Gate:
    return Gate(fields.flag("passed"), fields.text("reason"), fields.text("rule"))
