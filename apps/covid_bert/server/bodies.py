"""What a client may send as a body: how much of it, and how slowly."""

from __future__ import annotations

import asyncio
import contextlib
import time

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from covid_bert.server.access import UPLOADS, find
from covid_bert.server.replies import error_reply, route_path

# A body has this long, and a second more for each so many bytes of it that have arrived.
_PATIENCE_SECONDS = 30.0
_BYTES_PER_SECOND = 16 * 2**10
_DRAIN_SECONDS = 5.0
# JSON is read into memory as a whole.
_OTHER_MEGABYTES = 1


class _RefusedBodyError(HTTPException):
    """Of a class that FastAPI lets through while it reads a body."""


class BodyLimit:
    """ASGI middleware that ends bodies above a size, told or not (413), and those that arrive too slowly (408).

    Parameters
    ----------
    app
        The application behind.
    megabytes
        Largest body of a request that may hold files, in 2^20 bytes, at least 1; all others may have one.
    patience_seconds
        How long a client may let the server wait for a body, beside one second for each 16 KiB that arrive.
    """

    def __init__(self, app: ASGIApp, megabytes: int, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        self.app = app
        self.megabytes = megabytes
        self.patience = patience_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and watch its body while it is read."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        entry = find(scope["method"], route_path(scope))
        takes_files = entry is not None and (entry.method, entry.path) in UPLOADS
        megabytes = self.megabytes if takes_files else _OTHER_MEGABYTES
        told = Headers(scope=scope).get("content-length", "0")
        if not told.isascii() or not told.isdigit() or len(told) > 19 or int(told) > megabytes * 2**20:
            await _refuse(413, megabytes, scope, receive, send)
            return
        body = _WatchedBody(receive, megabytes * 2**20, self.patience)
        started = False

        async def unless_refused(message: Message) -> None:
            nonlocal started
            if not body.refusal or started:
                started = True
                await send(message)

        with contextlib.suppress(_RefusedBodyError):
            await self.app(scope, body.receive, unless_refused)
        if body.refusal and not started:
            await _refuse(body.refusal, megabytes, scope, receive, send)


class _WatchedBody:
    """The body of one request; ``refusal`` is the status with which it was ended, or 0."""

    def __init__(self, receive: Receive, limit: int, patience: float) -> None:
        self.refusal = 0
        self._receive, self._limit, self._patience = receive, limit, patience
        self._received, self._complete = 0, False

    async def receive(self) -> Message:
        """Wait for the next part, within the limits; after the last one, for the client to leave."""
        if self._complete:
            return await self._receive()
        started = time.monotonic()
        try:
            # Only the time that the server waits counts, not that in which it works on what has arrived.
            message = await asyncio.wait_for(self._receive(), self._patience)
        except asyncio.TimeoutError:
            self.refusal = 408
            raise _RefusedBodyError(408) from None
        size = len(message.get("body", b""))
        self._received += size
        self._patience += size / _BYTES_PER_SECOND - (time.monotonic() - started)
        self._complete = not message.get("more_body", False)
        if self._received > self._limit:
            self.refusal = 413
            raise _RefusedBodyError(413)
        return message


async def _refuse(status: int, megabytes: int, scope: Scope, receive: Receive, send: Send) -> None:
    if status == 413:
        await _drain(receive, megabytes * 2**20)
        code, message = "too-large", f"The request is larger than {megabytes} MB."
        hint = "Send a smaller study; the operator sets the limit for files as body_megabytes."
    else:
        code, message = "too-slow", "The request did not arrive in time."
        hint = "Look whether the network works, and send it again."
    reply = error_reply(scope, status, code, message, hint, headers={"Connection": "close"})
    await reply(scope, receive, send)


async def _drain(receive: Receive, limit: int) -> None:
    """Read on for a while: a client that is still sending would meet a broken connection instead of the answer."""

    async def read_on() -> None:
        left = limit
        while left > 0:
            message = await receive()
            left -= len(message.get("body", b""))
            if not message.get("more_body", False):
                return

    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(read_on(), _DRAIN_SECONDS)
