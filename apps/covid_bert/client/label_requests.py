"""Labels of the server's studies: masks and study labels, each with all its versions."""

from __future__ import annotations

from pathlib import Path

from . import errors
from .answers import invalid_answer, read_json
from .backoff import Cancelled
from .base import Requests
from .link import JsonBody
from .names import study_query
from .records import LabelVersion, StudyLabel, read_study_label, read_version
from .transfers import FileBody, OnFraction


class LabelRequests(Requests):
    """Requests about labels."""

    def save_label(
        self,
        image: str,
        path: str | Path,
        tag: str = "final",
        *,
        on_progress: OnFraction | None = None,
        cancelled: Cancelled | None = None,
    ) -> None:
        """Save a mask as the newest version of a label; the author is who holds the token.

        It is never sent again when it may have arrived: after a `ConnectionLostError` or `TimedOutError`,
        `label_versions` shows whether it was saved.

        Parameters
        ----------
        image
            Id of its study.
        path
            The mask, of the kinds .nii, .nii.gz, .nrrd or .mha.
        tag
            ``"final"`` or ``"original"``.
        on_progress, cancelled
            As for `upload`.

        Raises
        ------
        InvalidRequestError
            If it does not lie on the study's grid.
        NotFoundError, NotAllowedError, LocalFileError, CancelledError
            If there is no such study, the token's role does not allow it, the file cannot be read, or the user
            cancelled.
        """
        body = FileBody(Path(path), "label", on_progress, cancelled, stem="label")
        route = f"/datastore/label?{study_query(image, tag=tag)}"
        self._link.ask("PUT", route, read_json, body, cancelled=cancelled)

    def label_versions(self, image: str, tag: str = "final") -> list[LabelVersion]:
        """Return all versions of a label, the first one first; parameters as for `save_label`."""
        route = f"/datastore/label/versions?{study_query(image, key='label', tag=tag)}"
        versions = self._link.ask("GET", route, read_json).get("versions")
        if not isinstance(versions, list):
            raise invalid_answer("holds no list of versions")
        return [read_version(version, self._token) for version in versions]

    def study_label(self, image: str) -> tuple[StudyLabel, LabelVersion] | None:
        """Return the newest study label and its version, or None where there is no such label or study."""
        try:
            content = self._link.ask("GET", f"/datastore/study-label?{study_query(image)}", read_json)
        except errors.NotFoundError:
            return None
        return read_study_label(content, self._token)

    def save_study_label(self, image: str, label: StudyLabel) -> LabelVersion:
        """Save what a reader says about a study, and return its version; the author is who holds the token.

        Raises
        ------
        NotFoundError, NotAllowedError
            If there is no such study, or the token's role does not allow it.
        """
        body = JsonBody({"study_class": label.study_class, "certainty": label.certainty, "comment": label.comment})
        content = self._link.ask("PUT", f"/datastore/study-label?{study_query(image)}", read_json, body)
        return read_study_label(content, self._token)[1]
