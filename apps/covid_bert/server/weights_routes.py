"""The routes of weights: versions of the models that can be trained again, and which of them is live."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from covid_bert.errors import NotFoundError, WeightsError
from covid_bert.retraining.models import MODELS, Model, model_named
from covid_bert.retraining.records import GateDecision, TrainingRecord
from covid_bert.retraining.versions import (
    needs_word,
    publish_version,
    roll_back_version,
    training_record,
    warning_of,
)
from covid_bert.server.authentication import caller_of
from covid_bert.weights.states import State, VersionState, version_states
from covid_bert.weights.version_folder import InstalledWeights

_VERSION = r"^v\d{3,8}$"
ModelName = Annotated[str, Path(max_length=64)]


class MeasuredReply(BaseModel):
    """One number of a version; without interval and patients where they were not recorded."""

    measure: str
    value: float
    lower: float | None = None
    upper: float | None = None
    patients: int | None = None
    data: str


class VersionReply(BaseModel):
    """One version of a model; what cannot be read of a damaged one is null or empty.

    `needs_word` says why it goes live only with ``despite_gate``; null where it needs no such word.
    """

    version: str
    state: State
    created: str | None = None
    trained_on: str = ""
    demonstration: bool | None = None
    metrics: list[MeasuredReply] = Field(default_factory=list)
    gate: GateDecision | None = None
    needs_word: str | None = None


class ModelReply(BaseModel):
    """One model: `name` is that of its head, whose `live` version decides; `warning` if that one cannot be used."""

    model: str
    name: str
    live: str | None
    warning: str | None
    versions: list[VersionReply]


class ModelList(BaseModel):
    """Reply of ``GET /weights``."""

    models: list[ModelReply]


class VersionDetails(BaseModel):
    """Reply of ``GET /weights/{model}/{version}``; `record` is null for what was not trained on labels."""

    version: VersionReply
    record: TrainingRecord | None


class PublishRequest(BaseModel):
    """Body of ``POST /weights/{model}/publish``."""

    model_config = ConfigDict(extra="forbid")

    version: str = Field(pattern=_VERSION)
    despite_gate: bool = False


def install(app: FastAPI) -> None:
    """Add the routes to an application, which turns `CovidBertError` into replies."""
    # Plain functions run on threads: the disk is never waited for on the event loop.

    @app.get("/weights", tags=["Weights"], summary="List models and their versions")
    def models() -> ModelList:
        return ModelList(models=[_model(model) for model in MODELS.values()])

    @app.get("/weights/{model}/{version}", tags=["Weights"], summary="How a version came about")
    def version(model: ModelName, version: Annotated[str, Path(max_length=16)]) -> VersionDetails:
        found = _version_state(model_named(model), version)
        record = training_record(found.weights) if found.weights is not None else None
        return VersionDetails(version=_version(found), record=record)

    @app.post("/weights/{model}/publish", tags=["Weights"], summary="Make a version live")
    def publish(request: Request, model: ModelName, wanted: PublishRequest) -> ModelReply:
        chosen = model_named(model)
        _version_state(chosen, wanted.version)
        publish_version(chosen.head, wanted.version, by=caller_of(request).name, despite_gate=wanted.despite_gate)
        return _model(chosen)

    @app.post("/weights/{model}/rollback", tags=["Weights"], summary="Go back to what was live before")
    def roll_back(request: Request, model: ModelName) -> ModelReply:
        chosen = model_named(model)
        roll_back_version(chosen.head, by=caller_of(request).name)
        return _model(chosen)


def _version_state(model: Model, version: str) -> VersionState:
    found = next((state for state in version_states(model.head) if state.version == version), None)
    if found is None:
        raise NotFoundError("The model has no version of that name.", "Ask for the list with GET /weights.")
    return found


def _model(model: Model) -> ModelReply:
    states = version_states(model.head)
    return ModelReply(
        model=model.name,
        name=model.head,
        live=next((state.version for state in states if state.is_live), None),
        warning=warning_of(model),
        versions=[_version(state) for state in states],
    )


def _version(state: VersionState) -> VersionReply:
    weights = state.weights
    if weights is None:
        return VersionReply(version=state.version, state=state.state)
    record = _record_if_whole(weights)
    manifest = weights.manifest
    metrics = (
        [MeasuredReply(**item.model_dump()) for item in record.metrics]
        if record is not None
        else [MeasuredReply(measure=item.measure, value=item.value, data=item.data) for item in manifest.metrics]
    )
    return VersionReply(
        version=state.version,
        state=state.state,
        created=manifest.created,
        trained_on=manifest.trained_on,
        demonstration=manifest.demonstration,
        metrics=metrics,
        gate=record.gate if record is not None else None,
        needs_word=needs_word(manifest.name, state.version) if record is not None else None,
    )


def _record_if_whole(weights: InstalledWeights) -> TrainingRecord | None:
    try:
        return training_record(weights)
    except WeightsError:
        # The list is of use without it; who asks for the version is told.
        return None
