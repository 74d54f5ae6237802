"""The routes of sessions: upload a study once, use it for a while. MONAI Label's, and a heartbeat."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import FastAPI, File, Form, Query, Request, UploadFile
from fastapi.responses import FileResponse
from pydantic import BaseModel

from covid_bert.errors import GoneError, ParameterError
from covid_bert.server.access import Role
from covid_bert.server.sessions_store import Session, SessionStore

_FILE_NAME = r"[A-Za-z0-9_][^/\\\x00-\x1f]{0,199}"
_LONGEST_NAME_BYTES = 255


class Lease(BaseModel):
    """Reply to a heartbeat: how long the session is kept if nobody uses it."""

    session_id: str
    seconds_left: float


def install(app: FastAPI, kept: SessionStore, on_end: Callable[[], None]) -> None:
    """Add the routes to an application, which turns `CovidBertError` into replies.

    Parameters
    ----------
    app
        The application.
    kept
        The sessions; started and closed by the caller.
    on_end
        Called when a session was ended.
    """

    @app.put("/session/", tags=["Session"], summary="Upload a study for a while", response_model=None)
    def create(
        request: Request,
        files: Annotated[list[UploadFile], File()],
        uncompress: bool = False,
        expiry: Annotated[int, Query(ge=0, le=10**9)] = 0,
        client_id: Annotated[str, Form(max_length=200)] = "",  # noqa: ARG001 - MONAI Label's clients send it
    ) -> dict[str, Any]:
        if uncompress:
            raise ParameterError("Archives are not unpacked.", "Upload a DICOM zip as it is; leave uncompress out.")
        names = [file.filename or "" for file in files]
        if not all(_is_plain(name) for name in names) or len({*names}) < len(names):
            raise ParameterError(
                "The name of an uploaded file is not a plain one, or occurs twice.", "Give short plain names."
            )
        contents = [(name, file.file) for name, file in zip(names, files, strict=True)]
        session = kept.create(contents, request.state.caller.name, seconds=expiry)
        return {"session_id": session.identifier, "session_info": _info(session)}

    @app.get("/session/{session_id}", tags=["Session"], summary="Look at a session", response_model=None)
    def look(request: Request, session_id: str, update_ts: bool = False, image: bool = False) -> Any:
        session = own_session(kept, request, session_id, renew=update_ts)
        if not image:
            return _info(session)
        if session.image.is_dir():
            raise ParameterError("The session holds several files.", "Leave image out.")
        return FileResponse(session.image, media_type="application/octet-stream", filename=session.image.name)

    @app.post("/session/{session_id}/heartbeat", tags=["Session"], summary="Keep a session for another while")
    def renew(request: Request, session_id: str) -> Lease:
        session = own_session(kept, request, session_id, renew=True)
        return Lease(session_id=session_id, seconds_left=kept.seconds_left(session.identifier))

    @app.delete("/session/{session_id}", tags=["Session"], summary="End a session", response_model=None)
    def end(request: Request, session_id: str) -> dict[str, Any]:
        session = own_session(kept, request, session_id, renew=False)
        kept.remove_session(session_id)
        on_end()
        return _info(session)


def _is_plain(name: str) -> bool:
    # File systems count bytes.
    return re.fullmatch(_FILE_NAME, name) is not None and len(name.encode("utf-8", "replace")) <= _LONGEST_NAME_BYTES


def own_session(kept: SessionStore, request: Request, session_id: str, *, renew: bool) -> Session:
    """Return a session of the caller's; another's looks like one that has ended.

    Parameters
    ----------
    kept
        The sessions.
    request
        Tells who asks.
    session_id
        As the client gave it.
    renew
        Whether the session's time begins anew.

    Raises
    ------
    NotFoundError, GoneError
        If there is none, or it has ended, or it is another user's.
    """
    session = kept.get_session(session_id, update_ts=False)
    caller = request.state.caller
    if session.owner != caller.name and caller.role is not Role.ADMIN:
        raise GoneError("The uploaded study is no longer kept.", "Upload it again.")
    return kept.get_session(session_id) if renew else session


def hold_own(kept: SessionStore, request: Request, session_id: str) -> Callable[[], None]:
    """Keep a session of the caller's for a job, and return what ends that; parameters and errors as `own_session`."""
    own_session(kept, request, session_id, renew=False)
    kept.hold(session_id)
    return functools.partial(kept.let_go, session_id)


def _info(session: Session) -> dict[str, Any]:
    """What MONAI Label says of a session, without the server's paths."""
    return {
        "name": session.identifier,
        "path": "",
        "image": session.image.name,
        "meta": {},
        "create_ts": session.created,
        "last_access_ts": session.created,
        "expiry": int(session.lease_seconds),
    }
