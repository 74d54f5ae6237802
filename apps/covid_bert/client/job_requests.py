"""Computations: started, followed, cancelled, fetched."""

from __future__ import annotations

from collections.abc import Callable
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from . import errors
from .answers import invalid_answer, read_json
from .backoff import Cancelled, check_cancelled, sleep
from .base import Requests
from .jobs import Job, JobResult, read_job, read_result, require_done
from .link import JsonBody
from .names import job_path, plain_name
from .transfers import DOWNLOAD_LIMIT_BYTES, OnFraction, receive_file


class JobRequests(Requests):
    """Requests about jobs."""

    def submit(
        self,
        model: str,
        *,
        image: str | None = None,
        session_id: str | None = None,
        params: dict[str, Any] | None = None,
    ) -> Job:
        """Start a computation.

        It is sent again only where it did not arrive. After a `ConnectionLostError` or `TimedOutError`, `jobs` shows
        whether it was started.

        Parameters
        ----------
        model
            Name of a model of `info`.
        image
            Id of one of the server's studies.
        session_id
            What `upload` returned; give this or ``image``.
        params
            The model's parameters.

        Raises
        ------
        InvalidRequestError, BusyError
            If the server does not take the parameters, or its queue is full.
        """
        if (image is None) == (session_id is None):
            raise errors.InvalidRequestError("A computation needs one study.", "Give either image or session_id.")
        study = {"image": image} if session_id is None else {"session_id": session_id}
        body = JsonBody({"model": model, **study, "params": params or {}})
        return self._link.ask("POST", "/jobs", self._read_job, body)

    def job(self, job_id: str) -> Job:
        """Return the present state of a job."""
        return self._link.ask("GET", job_path(job_id), self._read_job)

    def jobs(self) -> list[Job]:
        """Return your jobs, all of them for an administrator."""
        content = self._link.ask("GET", "/jobs", read_json).get("jobs")
        if not isinstance(content, list):
            raise invalid_answer("holds no list of jobs")
        return [read_job(item, self._token) for item in content]

    def wait(
        self,
        job: Job,
        on_progress: Callable[[Job], None] | None = None,
        cancelled: Cancelled | None = None,
        *,
        poll_seconds: float = 1.0,
    ) -> Job:
        """Wait until a job is done.

        Parameters
        ----------
        job
            From `submit`.
        on_progress
            Called with the job each time the server was asked.
        cancelled
            Asked ten times a second; the job is cancelled on the server when it returns true.
        poll_seconds
            Pause between two questions.

        Returns
        -------
        Job
            The job, done.

        Raises
        ------
        JobFailedError
            If it failed, with the server's code, message and hint.
        CancelledError
            If it was cancelled, here or on the server.
        GoneError
            If it has expired.
        """
        try:
            while True:
                check_cancelled(cancelled)
                job = self._link.ask("GET", job_path(job.id), self._read_job, cancelled=cancelled)
                if on_progress is not None:
                    on_progress(job)
                if job.is_finished:
                    break
                sleep(poll_seconds, cancelled)
        except errors.CancelledError:
            self._cancel_quietly(job)
            raise
        return require_done(job)

    def cancel(self, job: Job) -> Job:
        """Cancel a job and return its state; one that is finished stays as it is."""
        return self._link.ask("DELETE", job_path(job.id), self._read_job)

    def result(self, job: Job) -> JobResult:
        """Return what a job computed.

        Raises
        ------
        ConflictError
            If it is not done.
        GoneError
            If its result has expired.
        """
        return self._link.ask("GET", f"{job_path(job.id)}/result", lambda response: read_result(read_json(response)))

    def download(
        self,
        job: Job,
        target: str | Path,
        *,
        name: str | None = None,
        on_progress: OnFraction | None = None,
        cancelled: Cancelled | None = None,
        limit_bytes: int = DOWNLOAD_LIMIT_BYTES,
    ) -> Path:
        """Write an image that a job computed to a file.

        Parameters
        ----------
        job
            A job that is done.
        target
            The file; it is replaced when the whole image has arrived, and left as it is otherwise.
        name
            Which of the result's files, where it has several: one of `JobResult.files`.
        on_progress, cancelled
            As for `upload`.
        limit_bytes
            Larger images are refused.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        ConflictError, GoneError, LocalFileError, CancelledError
            As for `result`; or if the file cannot be written, or the user cancelled.
        """
        path = Path(target)

        def write(response: HTTPResponse) -> None:
            receive_file(response, path, limit_bytes=limit_bytes, on_progress=on_progress, cancelled=cancelled)

        query = "" if name is None else f"?name={plain_name(name, 'file')}"
        self._link.ask("GET", f"{job_path(job.id)}/file{query}", write, cancelled=cancelled)
        return path

    def _read_job(self, response: HTTPResponse) -> Job:
        return read_job(read_json(response), self._token)

    def _cancel_quietly(self, job: Job) -> None:
        """Cancel for a user who no longer waits: that the job is finished, or the server away, is not his trouble."""
        try:
            self.cancel(job)
        except errors.ClientError:
            return
