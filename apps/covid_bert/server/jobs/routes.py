"""The routes of jobs: submit, list, follow, cancel, and fetch the result."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Protocol

from fastapi import FastAPI, Query, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Message, Receive, Scope, Send

from covid_bert.errors import GoneError, NotFoundError, ParameterError
from covid_bert.server.audit_events import note_study
from covid_bert.server.authentication import Caller, caller_of
from covid_bert.server.jobs.records import Job
from covid_bert.server.jobs.runner import JobRunner

Release = Callable[[], None]


class Submission(BaseModel):
    """Body of ``POST /jobs``.

    Parameters
    ----------
    model
        Name of an infer task.
    image, session_id
        One of them: a study's id or a session's.
    params
        Parameters of the task.
    """

    model_config = ConfigDict(extra="forbid")

    model: str = Field(min_length=1, max_length=64)
    image: str = Field(default="", max_length=256)
    session_id: str = Field(default="", max_length=64)
    params: dict[str, Any] = Field(default_factory=dict)


class JobList(BaseModel):
    """Reply of ``GET /jobs``: the newest first."""

    jobs: list[Job]


class ResultReply(BaseModel):
    """Reply of ``GET /jobs/{id}/result``: the reply's JSON, and what its images show, the reply's own first."""

    params: dict[str, Any]
    files: list[str]


class OtherJobs(Protocol):
    """Work beside the inferences that is shown as jobs; None stands for what is not among it, or another user's."""

    def jobs(self, caller: Caller) -> list[Job]:
        """What a caller may see."""

    def job(self, identifier: str, caller: Caller) -> Job | None:
        """State of one."""

    def cancel(self, identifier: str, caller: Caller) -> Job | None:
        """Stop one, and return its state."""

    def result(self, identifier: str, caller: Caller) -> dict[str, Any] | None:
        """What came of one; raises the error of one that failed."""


def install(
    app: FastAPI,
    runner: JobRunner,
    hold_session: Callable[[Request, str], Release],
    others: OtherJobs | None = None,
) -> None:
    """Add the routes to an application, which turns `CovidBertError` into replies.

    Parameters
    ----------
    app
        The application.
    runner
        Started and closed by the caller.
    hold_session
        Refuses sessions of other users, keeps the caller's own, and returns what lets it go again.
    others
        What else is shown as jobs; None for nothing.
    """
    # Plain functions run on threads: the database is never waited for on the event loop.

    @app.post("/jobs", status_code=202, tags=["Jobs"], summary="Submit an inference")
    def submit(request: Request, submission: Submission) -> Job:
        _refuse_server_parameters(submission.params)
        if submission.image:
            note_study(request, submission.image)
        with ExitStack() as kept:
            if submission.session_id:
                kept.callback(hold_session(request, submission.session_id))
            prepared = runner.requests.prepare(
                submission.model, submission.params, image=submission.image, session_id=submission.session_id
            )
            job = runner.submit(prepared, caller_of(request))
            ended = runner.completion(job.id)
            let_go = kept.pop_all().close
        ended.add_done_callback(lambda _: let_go())
        return job

    @app.get("/jobs", tags=["Jobs"], summary="List your jobs")
    def jobs(request: Request) -> JobList:
        caller = caller_of(request)
        found = runner.jobs(caller) + (others.jobs(caller) if others else [])
        return JobList(jobs=sorted(found, key=lambda job: job.created, reverse=True))

    @app.get("/jobs/{identifier}", tags=["Jobs"], summary="State of a job")
    def job(request: Request, identifier: str) -> Job:
        found = others.job(identifier, caller_of(request)) if others else None
        return found or runner.job(identifier, caller_of(request))

    @app.delete("/jobs/{identifier}", tags=["Jobs"], summary="Cancel a job")
    def cancel(request: Request, identifier: str) -> Job:
        found = others.cancel(identifier, caller_of(request)) if others else None
        return found or runner.cancel(identifier, caller_of(request))

    @app.get("/jobs/{identifier}/result", tags=["Jobs"], summary="Result of a job, without its images")
    def result(request: Request, identifier: str) -> ResultReply:
        other = others.result(identifier, caller_of(request)) if others else None
        if other is not None:
            return ResultReply(params=other, files=[])
        found = runner.result(identifier, caller_of(request))
        return ResultReply(params=found.params, files=list(found.files))

    @app.get("/jobs/{identifier}/file", tags=["Jobs"], summary="Image of a result", response_class=FileResponse)
    def file(request: Request, identifier: str, name: Annotated[str, Query(max_length=64)] = "") -> FileResponse:
        found = runner.result(identifier, caller_of(request))
        path = found.files.get(name) if name else found.file
        if path is None:
            raise NotFoundError("The result of this job has no such image.", "Submit it with another reply_image.")
        return _ResultFile(path)


class _ResultFile(FileResponse):
    """The file of a result: 410 if it goes, with its session or its time, before it could be opened."""

    def __init__(self, path: Path) -> None:
        try:
            found = path.stat()
        except FileNotFoundError as error:
            raise _gone() from error
        super().__init__(path, media_type="application/octet-stream", filename=path.name, stat_result=found)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file."""
        head: Message | None = None

        async def after_opening(message: Message) -> None:
            """Keep the status back until there is content: after it, no error could be told."""
            nonlocal head
            if message["type"] == "http.response.start":
                head = message
                return
            if head is not None:
                begin, head = head, None
                await send(begin)
            await send(message)

        try:
            await super().__call__(scope, receive, after_opening)
        except FileNotFoundError as error:
            raise _gone() from error


def _gone() -> GoneError:
    return GoneError("The result of this job was removed.", "Submit the study again.")


def _refuse_server_parameters(params: dict[str, Any]) -> None:
    """Refuse what only MONAI Label's own clients may send, and what would be silently left out."""
    from covid_bert.tasks.parameters import FOREIGN_KEYS

    if any(key in FOREIGN_KEYS or key.startswith("_") for key in params):
        raise ParameterError(
            "The parameters hold one that jobs do not have.", "Leave out all but the model's own parameters."
        )
