"""Studies that are uploaded for computations, for a while."""

from __future__ import annotations

from pathlib import Path

from . import errors
from .answers import invalid_answer, read_json
from .backoff import Cancelled
from .base import Requests
from .names import is_plain_name, session_path
from .transfers import FileBody, OnFraction


class SessionRequests(Requests):
    """Uploads for computations."""

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
        body = FileBody(Path(path), "files", on_progress, cancelled)
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
