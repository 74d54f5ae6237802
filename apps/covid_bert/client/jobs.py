"""What the server says about jobs, checked field by field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import errors
from .answers import invalid_answer, plain_code, plain_text
from .fields import count_field, number_field, text_field
from .names import is_job_id

STATES = ("queued", "running", "done", "failed", "cancelled", "expired")
_OF = "a job"


@dataclass(frozen=True)
class JobFault:
    """Why a job failed.

    Parameters
    ----------
    code
        The server's code, for example ``"not-ct"``.
    message
        One sentence that says what is wrong.
    hint
        One sentence that says what to do about it.
    """

    code: str
    message: str
    hint: str


@dataclass(frozen=True)
class Job:
    """A computation on the server, as it was when the server was asked.

    Parameters
    ----------
    id
        32 hexadecimal digits.
    state
        One of `STATES`.
    model
        Name of the model.
    stage
        What is computed just now, ``""`` where nothing is.
    fraction
        How much of the stage is done, in [0, 1]; 1 when the job is done.
    place
        Jobs before this one, 0 if it runs or is the next; None where it no longer waits.
    seconds_left
        The server's estimate, or None.
    fault
        Why it failed, or None.
    created, started, ended
        ISO 8601 in UTC; None for what did not happen yet.
    """

    id: str
    state: str
    model: str
    stage: str
    fraction: float
    place: int | None
    seconds_left: float | None
    fault: JobFault | None
    created: str
    started: str | None
    ended: str | None

    @property
    def is_finished(self) -> bool:
        """Whether the server will do nothing more about it."""
        return self.state not in ("queued", "running")


@dataclass(frozen=True)
class JobResult:
    """What a job computed.

    Parameters
    ----------
    params
        As in MONAI Label's reply to an inference; ``params["result"]`` of a classification is the study's result.
    files
        Kinds of files that the result has, for example ``["lungs"]``.
    """

    params: dict[str, Any]
    files: list[str]


def read_job(content: Any, token: str | None) -> Job:
    """Read a job from the server's JSON. Fields that are not known are left out.

    Parameters
    ----------
    content
        A job of the server.
    token
        The client's token, which no text of the server may repeat.

    Raises
    ------
    InvalidAnswerError
        If a field is missing or cannot be what it says.
    """
    if not isinstance(content, dict) or not is_job_id(content.get("id")) or content.get("state") not in STATES:
        raise invalid_answer("holds no job")
    return Job(
        id=content["id"],
        state=content["state"],
        model=text_field(content, "model", token, _OF) or "",
        stage=text_field(content, "stage", token, _OF) or "",
        fraction=min(max(number_field(content, "fraction", _OF) or 0.0, 0.0), 1.0),
        place=count_field(content, "place"),
        seconds_left=number_field(content, "seconds_left", _OF),
        fault=_fault(content.get("error"), token),
        created=text_field(content, "created", token, _OF) or "",
        started=text_field(content, "started", token, _OF),
        ended=text_field(content, "ended", token, _OF),
    )


def read_result(content: dict[str, Any]) -> JobResult:
    """Read the result of a job from the server's JSON.

    Raises
    ------
    InvalidAnswerError
        If it has no ``params`` and ``files``.
    """
    params, files = content.get("params"), content.get("files")
    if not isinstance(params, dict) or not isinstance(files, list) or not all(isinstance(name, str) for name in files):
        raise invalid_answer("holds no result")
    return JobResult(params, files)


def require_done(job: Job) -> Job:
    """Return a finished job that is done.

    Raises
    ------
    JobFailedError, CancelledError, GoneError
        If it failed, was cancelled or has expired.
    """
    if job.state == "failed":
        fault = job.fault or JobFault(errors.JobFailedError.default_code, "", "")
        raise errors.JobFailedError(
            fault.message or "The server could not finish the job.",
            fault.hint or "Look for the job in the server's log.",
            code=fault.code,
        )
    if job.state == "cancelled":
        raise errors.CancelledError("The job was cancelled on the server.", "Start it again when you like.")
    if job.state == "expired":
        raise errors.GoneError("The result of the job has expired.", "Compute it again.")
    return job


def _fault(content: Any, token: str | None) -> JobFault | None:
    if content is None:
        return None
    if not isinstance(content, dict):
        raise invalid_answer("holds a job with a damaged error")
    code = plain_code(content.get("code"), token) or errors.JobFailedError.default_code
    return JobFault(code, plain_text(content.get("message"), token), plain_text(content.get("hint"), token))
