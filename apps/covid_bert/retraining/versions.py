"""Versions of the models: what is known of each, and which of them goes live."""

from __future__ import annotations

import contextlib

from pydantic import ValidationError

from covid_bert.errors import ConflictError, WeightsError
from covid_bert.retraining.models import Model, head_of, model_of_head
from covid_bert.retraining.opponents import check_companions
from covid_bert.retraining.records import RECORD_FILE, TrainingRecord
from covid_bert.systems.loading import weights_of
from covid_bert.weights.history import history
from covid_bert.weights.serving import rollback, serviceable
from covid_bert.weights.store import installed, publish, standing
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


def needs_word(name: str, version: str) -> str | None:
    """Say why a version goes live only if somebody says so in spite of that; None if it needs no such word.

    What a training made goes live without one if the gate let it pass, compared with what is live now; so does what was
    live before, and what was not trained on labels here.

    Parameters
    ----------
    name
        Of the weights, or of a model.
    version
        Of them.

    Raises
    ------
    WeightsError
        If the version is not installed, or its record is damaged.
    """
    name = head_of(name)
    record = training_record(installed(name, version))
    if record is None:
        return None
    gate = record.gate
    if not gate.passed:
        return f"{name} {version} did not pass the gate. {gate.reason}"
    now = standing(name)
    if now == gate.replaces or version in {now, *(line.version for line in history(name))}:
        return None
    with contextlib.suppress(WeightsError):
        # Where the live version is damaged, another one serves.
        now = _serving(name) or now
    if now == gate.against:
        return None
    return f"{name} {version} was compared with {gate.against}, and {now or 'none'} is live now."


def _serving(name: str) -> str | None:
    model = model_of_head(name)
    found = serviceable(name, lambda weights: check_companions(model, weights) if model is not None else None)
    return found.weights.version if found.weights is not None else None


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
        Publish also what `needs_word` says something about.

    Raises
    ------
    ConflictError
        If it needs a word in spite of the gate: see `needs_word`. Or if another version went live meanwhile.
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
    if despite_gate:
        return publish(name, version, by=by, reason="Despite the gate.")
    before = standing(name)
    why = needs_word(name, version)
    if why is not None:
        raise ConflictError(
            why,
            "Compare it with `covid-bert weights compare`. To publish it in spite of that, say so: despite_gate in the "
            "request, or --despite-gate.",
        )
    return publish(name, version, by=by, reason="Chosen.", instead_of=before)


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
