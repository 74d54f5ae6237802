"""Versions of the models: what is known of each, and which of them goes live."""

from __future__ import annotations

from pydantic import ValidationError

from covid_bert.errors import ConflictError, WeightsError
from covid_bert.retraining.models import Model, head_of, model_of_head
from covid_bert.retraining.records import RECORD_FILE, TrainingRecord
from covid_bert.systems.loading import weights_of
from covid_bert.weights.companions import companions
from covid_bert.weights.serving import rollback, serviceable
from covid_bert.weights.store import installed, publish
from covid_bert.weights.version_folder import InstalledWeights


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
    name
        Of the weights, or of a model of `covid_bert.retraining.models.MODELS`, whose head is meant.
    version
        Of them.
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
    name = head_of(name)
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
    """Go back to what was live before, passing over what is damaged since; errors as `covid_bert.weights.rollback`.

    The name is that of weights or of a model, as for `publish_version`.
    """
    name = head_of(name)
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
