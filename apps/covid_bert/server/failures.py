"""Errors of the application as replies of one form."""

from __future__ import annotations

import errno
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from monailabel.interfaces.exception import MONAILabelException
from starlette.exceptions import HTTPException

from covid_bert.errors import CovidBertError, OutputError
from covid_bert.server.headers import unexpected
from covid_bert.server.received import not_kept
from covid_bert.server.replies import error_reply, request_id

_CODES = {400: "bad-request", 404: "not-found", 405: "not-found", 413: "too-large", 422: "bad-parameter"}
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CHECK = "Compare the request with GET /openapi.json."


def install(app: FastAPI) -> None:
    """Give an application the handlers."""
    app.add_exception_handler(CovidBertError, _typed)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(MONAILabelException, _monailabel)
    app.add_exception_handler(OSError, _system)
    app.add_exception_handler(Exception, _unexpected)


async def _typed(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, CovidBertError)
    return _reply(request, error.http_status, error.to_json())


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, OSError):
        # Large bodies are spooled to the disk, and FastAPI takes its failure for the client's.
        return await _typed(request, not_kept(error.__cause__))
    # The tasks hand on typed errors in this way; MONAI Label's own are a bare sentence, which may name a study's path.
    detail: Any = error.detail
    if not isinstance(detail, dict) or "code" not in detail:
        code = _CODES.get(error.status_code, "refused" if error.status_code < 500 else "internal")
        message = "There is no such thing." if error.status_code == 404 else "The request was refused."
        detail = {"code": code, "message": message, "hint": _CHECK}
    reply = _reply(request, error.status_code, detail)
    reply.headers.update(error.headers or {})
    return reply


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    # What was sent stays out of the reply and thus of the client's logs.
    fields = sorted({".".join(str(part) for part in problem["loc"][1:]) or "body" for problem in error.errors()})
    detail = {"code": "bad-parameter", "message": f"Missing or wrong: {', '.join(fields)}.", "hint": _CHECK}
    return _reply(request, 422, detail)


async def _monailabel(request: Request, error: Exception) -> JSONResponse:
    """MONAI Label raises this for names that it does not know; without a handler it would be a bare 500."""
    assert isinstance(error, MONAILabelException)
    detail = {"code": "not-found", "message": str(error.msg), "hint": "Ask for what there is with GET /info/."}
    return _reply(request, 404, detail)


async def _system(request: Request, error: Exception) -> JSONResponse:
    """Say that the disk is full, wherever that was met; all else is unexpected."""
    assert isinstance(error, OSError)
    if error.errno not in _FULL:
        raise error
    full = OutputError("The server's disk takes no more.", "The operator must make room on it.")
    return await _typed(request, full)


async def _unexpected(request: Request, _: Exception) -> JSONResponse:
    message, hint = unexpected(request_id(request.scope))
    return _reply(request, 500, {"code": "internal", "message": message, "hint": hint})


def _reply(request: Request, status: int, detail: dict[str, Any]) -> JSONResponse:
    wait = detail.get("details", {}).get("retry_after")
    headers = {} if wait is None else {"Retry-After": str(wait)}
    return error_reply(request.scope, status, detail["code"], detail["message"], detail["hint"], headers=headers)
