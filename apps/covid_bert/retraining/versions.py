"""Versions of the models: what is known of each, and which of them goes live."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pydantic import ValidationError

from covid_bert.errors import ConflictError, WeightsError
from covid_bert.retraining.models import Model, model_of_head
from covid_bert.retraining.records import RECORD_FILE, TrainingRecord
from covid_bert.systems.loading import weights_of
from covid_bert.weights.companions import companions
from covid_bert.weights.history import history
from covid_bert.weights.serving import rollback, serviceable
from covid_bert.weights.store import installed, list_versions, live_version, publish
from covid_bert.weights.version_folder import InstalledWeights


class State(str, Enum):
    """What a version is now; of several that fit, the first one."""

    DAMAGED = "damaged"
    LIVE = "live"
    SHIPPED = "shipped"
    FORMER = "former"
    CANDIDATE = "candidate"


@dataclass(frozen=True)
class VersionState:
    """One version.

    Parameters
    ----------
    version
        Its name.
    state
        What it is now.
    weights
        None if its manifest cannot be read.
    is_live
        Whether the pointer names it, also if it is damaged.
    """

    version: str
    state: State
    weights: InstalledWeights | None
    is_live: bool


def training_record(weights: InstalledWeights) -> TrainingRecord | None:
    """Return what was written beside a version about its training; None for one that was not trained on labels.

    Raises
    ------
    WeightsError
        If it is damaged.
    """
    content = weights.read_file(RECORD_FILE)
    if content is None:
        return None
    try:
        return TrainingRecord.model_validate_json(content)
    except ValidationError as error:
        raise WeightsError(
            f"The record of the training of {weights.name} {weights.version} cannot be read.",
            "It was made by another version of covid-bert: update it.",
        ) from error


def version_states(name: str) -> list[VersionState]:
    """All versions of some weights, newest first.

    Parameters
    ----------
    name
        Of the weights, for instance the head of a model.
    """
    try:
        current = live_version(name)
    except WeightsError:
        current = None
    former = {line.version for line in history(name)}
    return [_state(name, version, current, former) for version in reversed(list_versions(name))]


def warning_of(model: Model) -> str | None:
    """Say what is wrong with the live version of a model and what serves in its place; None if nothing is."""
    try:
        if model.configuration is None:
            return serviceable(model.head).warning
        return " ".join(weights_of(model.configuration).warnings) or None
    except WeightsError as error:
        return str(error)


def publish_version(name: str, version: str, *, by: str, despite_gate: bool = False) -> InstalledWeights:
    """Make a version live that somebody chose.

    Parameters
    ----------
    name, version
        Of the weights.
    by
        Name of the token or program, for the history.
    despite_gate
        Publish also what the gate did not let pass.

    Raises
    ------
    ConflictError
        If the gate did not let it pass, with the gate's reason.
    WeightsError
        If it is not installed or damaged, or another network that it needs is.
    BusyError
        If another version is being published for half a minute.
    """
    weights = installed(name, version).verified()
    model = model_of_head(name)
    if model is not None:
        check_companions(model, weights)
    record = training_record(weights) if not despite_gate else None
    if record is not None and not record.gate.passed:
        raise ConflictError(
            f"{name} {version} did not pass the gate. {record.gate.reason}",
            "To publish it in spite of that, say so: despite_gate in the request, or --despite-gate.",
        )
    return publish(name, version, by=by, reason="Despite the gate." if despite_gate else "Chosen.")


def roll_back_version(name: str, *, by: str) -> InstalledWeights:
    """Go back to what was live before, passing over what is damaged since; errors as `covid_bert.weights.rollback`."""
    model = model_of_head(name)

    def check(weights: InstalledWeights) -> None:
        if model is not None:
            check_companions(model, weights)

    return rollback(name, by=by, reason="Rolled back.", check=check)


def check_companions(model: Model, head: InstalledWeights) -> None:
    """Refuse a head whose other networks are missing or damaged.

    Raises
    ------
    WeightsError
        Naming what is missing.
    """
    configuration = model.configuration
    if configuration is not None and configuration.head is not None:
        companions({role: part.weights for role, part in configuration.parts.items()}, configuration.head, head)


def _state(name: str, version: str, current: str | None, former: set[str | None]) -> VersionState:
    is_live = version == current
    try:
        weights = installed(name, version)
    except WeightsError:
        return VersionState(version, State.DAMAGED, None, is_live)
    try:
        weights.verified()
    except WeightsError:
        return VersionState(version, State.DAMAGED, weights, is_live)
    if is_live:
        state = State.LIVE
    elif weights.shipped:
        state = State.SHIPPED
    else:
        state = State.FORMER if version in former else State.CANDIDATE
    return VersionState(version, state, weights, is_live)
