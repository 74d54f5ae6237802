"""The outermost layer: request id, security headers, the count of requests, their lines in the log and audit log.

What fails in any layer below is answered here, and logged without the error's message, which may name a study.
"""

from __future__ import annotations

import logging
import time
from types import MappingProxyType

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from covid_bert.errors import CovidBertError
from covid_bert.logs import current_request, describe, log_request
from covid_bert.server.access import HEALTH, find
from covid_bert.server.audit_events import AuditEvent, RefusedLogins, event_of
from covid_bert.server.metrics import Metrics
from covid_bert.server.recording import Recorder
from covid_bert.server.replies import error_reply, request_id, route_path

logger = logging.getLogger(__name__)

SECURITY_HEADERS = MappingProxyType(
    {
        # Replies hold data of patients: nothing between server and client may keep them.
        "Cache-Control": "no-store",
        # No reply is a page: none may be shown in another page, or load anything.
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
)
_STRICT_TRANSPORT = "max-age=31536000"


class RequestFrame:
    """ASGI middleware around all others.

    Parameters
    ----------
    app
        The application behind.
    metrics
        Where requests are counted.
    recorder
        Where the outcome of changes, downloads and refused logins are recorded, before they are answered.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, recorder: Recorder) -> None:
        self.app = app
        self.metrics = metrics
        self.recorder = recorder
        self._refused_logins = RefusedLogins()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, whatever happens below."""
        if scope["type"] == "websocket":
            # No route has one.
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._live(scope, receive, send)
            return
        status = 0
        named = current_request.set(request_id(scope))

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update(SECURITY_HEADERS)
                headers["X-Request-ID"] = request_id(scope)
                if scope.get("scheme") == "https":
                    headers["Strict-Transport-Security"] = _STRICT_TRANSPORT
                for event in self._events(scope, status):
                    await self.recorder.write_if_possible(event)
            await send(message)

        started = time.perf_counter()
        try:
            await self.app(scope, receive, send_with_headers)
        except Exception as error:
            logger.error("The request failed: %s", describe(error))
            if not status:
                reply = error_reply(scope, 500, "internal", *unexpected(request_id(scope)))
                await reply(scope, receive, send_with_headers)
        finally:
            if not status:
                # Nobody waits any more, and waiting here could be cancelled.
                for event in self._events(scope, status):
                    self.recorder.write_later(event)
            self._record(scope, status, time.perf_counter() - started)
            current_request.reset(named)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start and stop the application; uvicorn's own words on a failure are withheld."""
        try:
            await self.app(scope, receive, send)
        except CovidBertError as error:
            logger.error("The server could not start or stop: %s", error)
            raise
        except Exception as error:
            logger.error("The server could not start or stop: %s", describe(error))
            raise

    def _events(self, scope: Scope, status: int) -> list[AuditEvent]:
        entry = find(scope["method"], route_path(scope))
        found = (event_of(scope, entry, status), self._refused_logins.event_of(scope, status))
        return [event for event in found if event is not None]

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        entry = find(scope["method"], route_path(scope))
        # Paths and unknown methods would be labels without end, and name studies.
        template = entry.path if entry is not None else "unknown"
        method = scope["method"] if entry is not None else "unknown"
        self.metrics.observe(method, template, status, seconds)
        if entry is not None and (entry.method, entry.path) in HEALTH and status < 400:
            return
        caller = scope.get("state", {}).get("caller")
        log_request(method, template, status, seconds, None if caller is None else caller.name)


def unexpected(identifier: str) -> tuple[str, str]:
    """Message and hint for an error that the server does not know."""
    return (
        "The server met an error that it does not know.",
        f"Look for the request id {identifier} in the server's log.",
    )
