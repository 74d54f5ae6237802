"""A training as clients see it: in the form of MONAI Label's tasks, with what it tells of itself; and as a job."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, Field

from covid_bert.retraining.run_records import LeftOutRecord, LiveRecord, Status
from covid_bert.server.jobs.clock import iso
from covid_bert.server.jobs.records import Job, ShownError, State
from covid_bert.server.training.runs import Run
from covid_bert.tasks.stamps import stamp

TaskStatus = Literal["SUBMITTED", "RUNNING", "DONE", "ERROR", "STOPPED"]
JOB_PREFIX = "train/"
# As many as MONAI Label keeps.
_MOST_LINES = 20
_TASK_STATUS: MappingProxyType[Status, TaskStatus] = MappingProxyType(
    {"waiting": "SUBMITTED", "running": "RUNNING", "done": "DONE", "failed": "ERROR", "stopped": "STOPPED"}
)
_JOB_STATE: MappingProxyType[Status, State] = MappingProxyType(
    {"waiting": "queued", "running": "running", "done": "done", "failed": "failed", "stopped": "cancelled"}
)


class ShownPoint(BaseModel):
    """One finished epoch: mean loss, and what was measured on the validation set."""

    epoch: int
    loss: float
    validation: dict[str, float]


class ShownGate(BaseModel):
    """Whether the gate let the version go live, and why or why not."""

    passed: bool
    reason: str


class ShownResult(BaseModel):
    """The version that a training made: name of its weights, version, whether it is live, and sentences for people."""

    name: str
    version: str
    published: bool
    gate: ShownGate
    notes: list[str]


class TrainingTask(BaseModel):
    """State of a training, as MONAI Label shows tasks, and what ours tell beside that.

    Parameters
    ----------
    id
        Of the training; also that of its job.
    status
        ``SUBMITTED`` while it waits.
    request
        Model and parameters.
    start_ts, end_ts
        When it was asked for, and when it ended; UTC.
    details
        The last lines for people, in the form of MONAI's ``StatsHandler``, and how it stands; never empty, since MONAI
        Label's module for 3D Slicer shows the last one.
    stage, fraction
        What it is at, and the part of the whole run that is done, in [0, 1].
    epoch, epochs, loss, validation, seconds_left, curve
        See `covid_bert.retraining.run_records.LiveRecord`.
    result
        Of a training that is done.
    error
        Of one that failed.
    left_out
        Labelled studies that were not used, and why.
    """

    id: str
    status: TaskStatus
    request: dict[str, Any]
    start_ts: str
    end_ts: str | None = None
    details: list[str] = Field(default_factory=list)
    stage: str = ""
    fraction: float = 0.0
    epoch: int | None = None
    epochs: int | None = None
    loss: float | None = None
    validation: dict[str, float] = Field(default_factory=dict)
    seconds_left: float | None = None
    curve: list[ShownPoint] = Field(default_factory=list)
    result: ShownResult | None = None
    error: ShownError | None = None
    left_out: list[LeftOutRecord] = Field(default_factory=list)


def as_task(run: Run) -> TrainingTask:
    """Show a training as a task."""
    live, standing = run.folder.live(), run.standing
    return TrainingTask(
        id=run.request.id,
        status=_TASK_STATUS[standing.status],
        request={"model": run.request.model, **run.request.parameters.model_dump()},
        start_ts=stamp(run.request.created),
        end_ts=None if standing.ended is None else stamp(standing.ended),
        details=[*run.folder.lines(_MOST_LINES - 1), _sentence(run, live)],
        stage=live.stage,
        fraction=1.0 if standing.status == "done" else live.fraction,
        epoch=live.epoch,
        epochs=live.epochs,
        loss=live.loss,
        validation=live.validation,
        seconds_left=_left(live, standing.status),
        curve=[ShownPoint(epoch=point.epoch, loss=point.loss, validation=point.validation) for point in live.curve],
        result=_result(run),
        error=_error(run),
        left_out=list(live.left_out),
    )


def as_job(run: Run, place: int) -> Job:
    """Show a training as a job.

    Parameters
    ----------
    run
        The training.
    place
        How many trainings wait before it.
    """
    live, standing = run.folder.live(), run.standing
    left = _left(live, standing.status)
    return Job(
        id=run.request.id,
        state=_JOB_STATE[standing.status],
        model=f"{JOB_PREFIX}{run.request.model}",
        stage=live.stage,
        fraction=1.0 if standing.status == "done" else live.fraction,
        place=place,
        seconds_left=None if left is None else round(left),
        error=_error(run),
        created=iso(run.request.created) or "",
        started=iso(standing.started),
        ended=iso(standing.ended),
    )


def _sentence(run: Run, live: LiveRecord) -> str:
    """How a training stands, for clients that show nothing but lines."""
    standing = run.standing
    if standing.error is not None:
        return f"{standing.error['message']} {standing.error['hint']}"
    if standing.result is not None:
        made = standing.result
        stands = "stays a candidate" if not made.gate.passed else "is not live, although it passed the gate"
        return f"{made.name} {made.version} {'is live' if made.published else stands}: {made.gate.reason}"
    return {"waiting": "It waits.", "stopped": "It was stopped."}.get(
        standing.status, f"It is at: {live.stage or 'start'}."
    )


def _left(live: LiveRecord, status: Status) -> float | None:
    return live.seconds_left if status == "running" else None


def _result(run: Run) -> ShownResult | None:
    made = run.standing.result
    if made is None:
        return None
    gate = ShownGate(passed=made.gate.passed, reason=made.gate.reason)
    return ShownResult(
        name=made.name, version=made.version, published=made.published, gate=gate, notes=list(made.notes)
    )


def _error(run: Run) -> ShownError | None:
    error = run.standing.error
    return None if error is None else ShownError(code=error["code"], message=error["message"], hint=error["hint"])
