"""What the job list holds: computations, jobs, and how a job is shown to its user."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from covid_bert.errors import CovidBertError, GoneError, InternalError, InterruptedJobError

State = Literal["queued", "running", "done", "failed", "cancelled", "expired"]
ENDED = frozenset({"done", "failed", "cancelled", "expired"})


@dataclass(frozen=True)
class Computation:
    """One inference that waits or runs.

    Parameters
    ----------
    number
        In the order in which they were asked for.
    folder
        Name of the folder of its files.
    model
        Name of the infer task.
    request
        What the worker gets.
    key
        Equal for equal computations; None when no job needs it any more.
    started
        Seconds since the epoch; None while it waits.
    """

    number: int
    folder: str
    model: str
    request: dict[str, Any]
    key: str | None
    started: float | None

    @classmethod
    def of_row(cls, row: sqlite3.Row) -> Computation:
        """Read a row of the database."""
        request = json.loads(row["request"])
        return cls(row["number"], row["folder"], row["model"], request, row["key"], row["started"])


@dataclass(frozen=True)
class JobRecord:
    """One user's job, as it stands.

    Parameters
    ----------
    id
        uuid4 in hexadecimal.
    owner
        Name of the user's token.
    computation
        Number of the computation.
    model, state
        Name of the infer task, and how far it is.
    error, details
        Of a failed job: code, message and hint; facts for programs, until the job expires.
    params, files
        Of a done job: the reply's JSON, and its images by what they show, the reply's own first.
    created, started, ended
        Seconds since the epoch; None before that.
    """

    id: str
    owner: str
    computation: int
    model: str
    state: State
    error: dict[str, Any] | None
    details: dict[str, Any]
    params: dict[str, Any] | None
    files: dict[str, Path]
    created: float
    started: float | None
    ended: float | None

    @classmethod
    def of_row(cls, row: sqlite3.Row, results: Path) -> JobRecord:
        """Read a row of the database.

        Parameters
        ----------
        row
            Of the joined tables.
        results
            Folder with one folder for each computation.
        """
        state = row["state"]
        files = {shows: results / row["folder"] / name for shows, name in json.loads(row["files"] or "{}").items()}
        return cls(
            id=row["id"],
            owner=row["owner"],
            computation=row["computation"],
            model=row["model"],
            state=state,
            error=json.loads(row["error"]) if state == "failed" else None,
            details=json.loads(row["details"] or "{}") if state == "failed" else {},
            params=json.loads(row["params"]) if state == "done" else None,
            files=files if state == "done" else {},
            created=row["created"],
            started=row["started"],
            ended=row["ended"],
        )


class ShownError(BaseModel):
    """Why a job failed."""

    code: str
    message: str
    hint: str


class Job(BaseModel):
    """What a user is told of a job.

    Parameters
    ----------
    id, state, model
        See `JobRecord`.
    stage, fraction
        What a running job is at, and the finished fraction of that stage in [0, 1].
    place
        How many computations wait before this one; 0 if it runs, is next or has ended.
    seconds_left
        Estimated from earlier jobs; None while there is nothing to estimate from.
    error
        Of a failed job.
    created, started, ended
        ISO 8601 in UTC.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    state: State
    model: str
    stage: str
    fraction: float
    place: int
    seconds_left: int | None
    error: ShownError | None
    created: str
    started: str | None
    ended: str | None


def interrupted() -> InterruptedJobError:
    """Return the error of a job that ran when the server stopped."""
    return InterruptedJobError("The server stopped while it computed this study.", "Submit the study again.")


def upload_gone() -> GoneError:
    """Return the error of a job on an uploaded study that waited when the server stopped."""
    return GoneError("The uploaded study went with the server's restart.", "Upload it again.")


def typed_error(error: dict[str, Any], details: dict[str, Any]) -> CovidBertError:
    """Return the error of a failed job as it was raised.

    Parameters
    ----------
    error
        Code, message and hint.
    details
        Facts for programs.
    """
    kinds: list[type[CovidBertError]] = [CovidBertError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    found = next((kind for kind in kinds if kind.code == error["code"]), InternalError)
    return found(error["message"], error["hint"], **details)
