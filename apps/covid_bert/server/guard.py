"""Which requests reach the application: those that name this machine, and no web page of another site."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import JSONResponse

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})

Scope = dict[str, Any]
Application = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]


class LoopbackGuard:
    """ASGI middleware against web pages that drive a local server.

    A page of another site can send requests to this machine (its Origin tells), or point its own name at it (the Host
    tells). Both are refused; programs send no Origin.

    Parameters
    ----------
    app
        The application behind.
    """

    def __init__(self, app: Application) -> None:
        self.app = app

    async def __call__(
        self, scope: Scope, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        """Pass a request on, or answer it with 403."""
        if scope["type"] in {"http", "websocket"}:
            headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
            for header, address in (("Host", f"//{headers.get('host', '')}"), ("Origin", headers.get("origin"))):
                if address is not None and not _is_loopback(address):
                    detail = {
                        "code": "forbidden",
                        "message": f"Requests with this {header} are refused.",
                        "hint": "Call the server as http://127.0.0.1, from this machine.",
                    }
                    await JSONResponse({"detail": detail}, status_code=403)(scope, receive, send)
                    return
        await self.app(scope, receive, send)


def _is_loopback(address: str) -> bool:
    try:
        return urlsplit(address).hostname in LOOPBACK_NAMES
    except ValueError:
        return False
