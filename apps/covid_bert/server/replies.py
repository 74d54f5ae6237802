"""Error replies: the same JSON from every layer of the server."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import Scope


def request_id(scope: Scope) -> str:
    """Return the request's id, made at the first call: 32 hexadecimal digits."""
    state: dict[str, Any] = scope.setdefault("state", {})
    return str(state.setdefault("request_id", uuid.uuid4().hex))


def error_reply(
    scope: Scope, status: int, code: str, message: str, hint: str, *, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Make the reply ``{"detail": {code, message, hint, request_id}}``.

    Parameters
    ----------
    scope
        The request's ASGI scope.
    status
        HTTP status, 400 ... 599.
    code, message, hint
        As in `covid_bert.errors.CovidBertError`.
    headers
        Further headers of the reply.
    """
    detail = {"code": code, "message": message, "hint": hint, "request_id": request_id(scope)}
    return JSONResponse({"detail": detail}, status_code=status, headers=dict(headers or {}))


def route_path(scope: Scope) -> str:
    """Return the path below the root path, as routes name it."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path.removeprefix(root) if root and path.startswith(f"{root}/") else path
