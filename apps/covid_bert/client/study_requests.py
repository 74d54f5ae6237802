"""The server's studies: listed, added, fetched, handed out."""

from __future__ import annotations

from http.client import HTTPResponse
from pathlib import Path

from . import errors
from .answers import invalid_answer, read_json
from .backoff import Cancelled
from .base import Requests
from .link import JsonBody
from .names import is_plain_name, plain_name, study_query
from .records import NextStudy, Study, read_next_study, read_studies
from .transfers import DOWNLOAD_LIMIT_BYTES, FileBody, OnFraction, receive_file, study_suffix


class StudyRequests(Requests):
    """Requests about studies."""

    def studies(self) -> list[Study]:
        """Return the server's studies and which labels they have."""
        return read_studies(self._link.ask("GET", "/datastore/?output=all", read_json), self._token)

    def add_study(
        self,
        path: str | Path,
        image: str,
        *,
        on_progress: OnFraction | None = None,
        cancelled: Cancelled | None = None,
    ) -> str:
        """Add a study to the server's, where it stays.

        Parameters
        ----------
        path
            A file as for `upload`; of its name only the kind is sent.
        image
            Id for the study: letters, digits and ``._-``. It must not name the patient.
        on_progress, cancelled
            As for `upload`.

        Returns
        -------
        str
            The study's id, another one than ``image`` where the server knows the file already.

        Raises
        ------
        ConflictError
            If another file has that id.
        NotAllowedError, TooLargeError, LocalFileError, CancelledError
            If the token's role does not allow it; else as for `upload`.
        """
        body = FileBody(Path(path), "file", on_progress, cancelled)
        route = f"/datastore/image?{study_query(image)}"
        given = self._link.ask("PUT", route, read_json, body, cancelled=cancelled).get("image")
        if not is_plain_name(given):
            raise invalid_answer("holds no id of a study")
        return str(given)

    def fetch_study(
        self,
        image: str,
        folder: str | Path,
        *,
        on_progress: OnFraction | None = None,
        cancelled: Cancelled | None = None,
        limit_bytes: int = DOWNLOAD_LIMIT_BYTES,
    ) -> Path:
        """Write a study to a file ``study`` of its kind, for example ``study.nii.gz``.

        Parameters
        ----------
        image
            Id of the study.
        folder
            Where the file goes.
        on_progress, cancelled, limit_bytes
            As for `download`.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        InvalidRequestError
            If the study is not one file: a folder of DICOM files, or a header with its voxels beside it.
        NotFoundError, LocalFileError, CancelledError
            If there is no such study; else as for `download`.
        """
        query = study_query(image)
        name = self._link.ask("GET", f"/datastore/image/info?{query}", read_json, cancelled=cancelled).get("name")
        suffix = study_suffix(name) if isinstance(name, str) else None
        if suffix is None:
            raise errors.InvalidRequestError(
                "This study is not one file on the server, and cannot be fetched.",
                "Open it from where it comes from; a folder of DICOM files is one of these.",
                code="study-in-parts",
            )
        path = Path(folder) / f"study{suffix}"

        def write(response: HTTPResponse) -> None:
            receive_file(response, path, limit_bytes=limit_bytes, on_progress=on_progress, cancelled=cancelled)

        self._link.ask("GET", f"/datastore/image?{query}", write, cancelled=cancelled)
        return path

    def next_study(self, strategy: str) -> NextStudy | None:
        """Ask which study is to be labelled next; the server reserves it for who asks.

        Parameters
        ----------
        strategy
            One of ``info()["strategies"]``.

        Returns
        -------
        NextStudy or None
            None when all have a final label, or are reserved for others.
        """
        route = f"/activelearning/{plain_name(strategy, 'strategy')}"
        content = self._link.ask("POST", route, read_json, JsonBody({}))
        return read_next_study(content, self._token) if content else None
