"""The client: one method for each thing that a server can be asked."""

from __future__ import annotations

from collections.abc import Callable
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from . import errors
from .address import check_secure, parse_address
from .answers import invalid_answer, read_json
from .backoff import Backoff, Cancelled, check_cancelled, sleep
from .connection import Connector
from .jobs import Job, JobResult, read_job, read_result, require_done
from .link import JsonBody, Link
from .names import is_plain_name, job_path, session_path
from .transfers import FileBody, OnFraction, receive_file

DOWNLOAD_LIMIT_BYTES = 4 * 2**30


class Client:
    """Speaks with one covid-bert server. It holds no connection open and may be used from several threads.

    Before the first request the server is asked, without the token, whether it is a covid-bert server of a fitting
    version. Every method raises a `ClientError`; only the special ones are named below.

    Parameters
    ----------
    url
        ``https://host:port/folder``, or ``http://`` for this machine.
    token
        As the server's administrator gave it, or None.
    ca_file
        Certificates (PEM) to trust in place of the system's; for https only.
    connect_timeout
        Seconds for connection and TLS handshake.
    read_timeout
        Seconds that the server may be silent.
    backoff
        How requests are tried again.
    allow_insecure_network
        Allow http to another machine, where everybody on the way can read studies and token.

    Raises
    ------
    AddressError, TokenRefusedError, CertificateError
        If a parameter cannot be used.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        ca_file: str | Path | None = None,
        connect_timeout: float = 10.0,
        read_timeout: float = 60.0,
        *,
        backoff: Backoff | None = None,
        allow_insecure_network: bool = False,
    ) -> None:
        address = parse_address(url)
        if not allow_insecure_network:
            check_secure(address)
        certificates = None if ca_file is None else Path(ca_file)
        connector = Connector(address, token, certificates, connect_timeout, read_timeout)
        self._token = token
        self._link = Link(connector, backoff or Backoff())

    def __repr__(self) -> str:
        return f"Client('{self._link.address}')"

    def version(self) -> str:
        """Ask what answers at the address, without sending the token.

        Returns
        -------
        str
            The server's version.

        Raises
        ------
        WrongServerError
            If it is not a covid-bert server.
        VersionMismatchError
            If its version does not fit this client.
        """
        return self._link.version()

    def ready(self) -> bool:
        """Ask once whether the server can compute now: False where it says that it cannot yet."""
        return self._link.ready()

    def info(self) -> dict[str, Any]:
        """Return the server's models, labels and settings, as in MONAI Label's ``GET /info/``."""
        return self._link.ask("GET", "/info/", read_json)

    def upload(
        self, path: str | Path, *, on_progress: OnFraction | None = None, cancelled: Cancelled | None = None
    ) -> str:
        """Upload a study for computations, without adding it to the server's studies.

        Of the file's name only the kind (for example ``.nii.gz``) is sent.

        Parameters
        ----------
        path
            A file of the kinds .nii, .nii.gz, .nrrd, .mha, or a .zip of one DICOM series.
        on_progress
            Called with the finished fraction in [0, 1]; begins again at 0 where the server was busy.
        cancelled
            Asked often; the upload stops when it returns true.

        Returns
        -------
        str
            The session's id. Give it to `submit`, and to `close_session` in the end.

        Raises
        ------
        LocalFileError, TooLargeError, CancelledError
            If the file cannot be read, is not taken, or the user cancelled.
        """
        body = FileBody(Path(path), on_progress, cancelled)
        content = self._link.ask("PUT", "/session/", read_json, body, cancelled=cancelled)
        session_id = content.get("session_id")
        if not is_plain_name(session_id):
            raise invalid_answer("holds no session")
        return str(session_id)

    def close_session(self, session_id: str) -> None:
        """Remove an uploaded study from the server. One that is no longer there is no error."""
        try:
            self._link.ask("DELETE", session_path(session_id), read_json)
        except (errors.NotFoundError, errors.GoneError):
            return

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
        on_progress: OnFraction | None = None,
        cancelled: Cancelled | None = None,
        limit_bytes: int = DOWNLOAD_LIMIT_BYTES,
    ) -> Path:
        """Write the image that a job computed to a file.

        Parameters
        ----------
        job
            A job that is done.
        target
            The file; it is replaced when the whole image has arrived, and left as it is otherwise.
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

        self._link.ask("GET", f"{job_path(job.id)}/file", write, cancelled=cancelled)
        return path

    def _read_job(self, response: HTTPResponse) -> Job:
        return read_job(read_json(response), self._token)

    def _cancel_quietly(self, job: Job) -> None:
        """Cancel for a user who no longer waits: that the job is finished, or the server away, is not his trouble."""
        try:
            self.cancel(job)
        except errors.ClientError:
            return
