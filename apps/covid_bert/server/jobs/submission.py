"""From a request of a user to what is computed: checked, its study found, with a key that equal requests share."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from covid_bert import __version__
from covid_bert.errors import NotFoundError, ParameterError

if TYPE_CHECKING:
    from covid_bert.main import CovidBertApp


@dataclass(frozen=True)
class Prepared:
    """A request that can be computed.

    Parameters
    ----------
    model
        Name of the infer task.
    request
        For `covid_bert.main.CovidBertApp.infer`.
    key
        Equal for requests whose results are equal: study, weights, parameters and version of the program.
    borrowed
        Whether the study is a session's or an upload, whose results must go when it goes.
    """

    model: str
    request: dict[str, Any]
    key: str
    borrowed: bool


class Requests(Protocol):
    """Prepares requests; see `AppRequests`."""

    def check(self, model: str, params: dict[str, Any]) -> dict[str, Any]:
        """Check the parameters of a request, and return them with the defaults."""

    def prepare(
        self, model: str, params: dict[str, Any], *, image: str = "", session_id: str = "", upload: Path | None = None
    ) -> Prepared:
        """Check a request and find its study."""

    def key(self, request: dict[str, Any]) -> str:
        """Return the key of a request as it would be now."""


class AppRequests:
    """Prepares requests for MONAI Label's app.

    Parameters
    ----------
    app
        The server's own, whose datastore and sessions know the studies.
    """

    def __init__(self, app: CovidBertApp) -> None:
        self._app = app

    def check(self, model: str, params: dict[str, Any]) -> dict[str, Any]:
        """Check the parameters of a request.

        Parameters
        ----------
        model
            Name of the infer task.
        params
            For the task. Those that MONAI Label's clients add for the server are left out.

        Returns
        -------
        dict
            All parameters of the task, with the defaults.

        Raises
        ------
        NotFoundError
            If there is no such model.
        ParameterError
            If a parameter is unknown or has a wrong value.
        """
        from covid_bert.tasks.infer import StudyTask
        from covid_bert.tasks.parameters import InferParameters

        task = self._app._infers.get(model)
        if not isinstance(task, StudyTask):
            raise NotFoundError("The server has no model with that name.", "Ask for the list with GET /info/.")
        if "image" in params:
            raise ParameterError("The parameters name a study.", "Give image or session_id beside params.")
        return InferParameters.of_request(params, task.parameters).model_dump(include={*task.parameters, "device"})

    def prepare(
        self, model: str, params: dict[str, Any], *, image: str = "", session_id: str = "", upload: Path | None = None
    ) -> Prepared:
        """Check a request and find its study.

        Parameters
        ----------
        model
            Name of the infer task.
        params
            For the task. Those that MONAI Label's clients add for the server are left out.
        image, session_id, upload
            One of them: a study's id, a session's id, or a file that the server received with this request.

        Raises
        ------
        NotFoundError
            If there is no such model, study or session.
        ParameterError
            If a parameter is unknown or has a wrong value, or not one study is named.
        """
        if (bool(image), bool(session_id), upload is not None).count(True) != 1:
            raise ParameterError("The request does not name one study.", "Give image or session_id.")
        checked = self.check(model, params)
        study = str(upload) if upload is not None else self._session(session_id) if session_id else self._study(image)
        request = {"model": model, "image": study, **checked}
        return Prepared(model, request, self.key(request), borrowed=not image)

    def key(self, request: dict[str, Any]) -> str:
        """Return the key of a request as it would be now."""
        facts = [__version__, request, _study_state(request["image"]), _weights_state()]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _study(self, image: str) -> str:
        uri = self._app.datastore().get_image_uri(image)
        if not uri:
            raise NotFoundError("The server has no study with that id.", "Ask for the list with GET /datastore/.")
        return str(uri)

    def _session(self, session_id: str) -> str:
        sessions = self._app.sessions()
        known = sessions is not None and re.fullmatch(r"[0-9a-f-]{32,36}", session_id) is not None
        session = sessions.get_session(session_id) if known else None
        if session is None:
            raise NotFoundError("The server has no session with that id.", "Upload the study again.")
        return str(session.image)


def _study_state(image: str) -> list[Any]:
    """What changes whenever a study's files change: names, sizes, times and places on the disk."""
    from covid_bert.volumes.study_files import state_files

    return [_file_state(file) for file in state_files(Path(image))]


def _file_state(file: Path) -> list[Any]:
    try:
        found = os.stat(file)  # noqa: PTH116 - the path may be an id
    except OSError:
        return [str(file)]
    return [str(file), found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _weights_state() -> dict[str, Any]:
    """What changes whenever other weights would be used: manifests, which hold their SHA-256, and warnings."""
    from covid_bert.systems.in_use import weights_in_use

    return weights_in_use()
