"""Writing the audit log beside the requests: a change is let through once a line says that it has begun."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from concurrent.futures import ThreadPoolExecutor

from starlette.types import ASGIApp, Receive, Scope, Send

from covid_bert.errors import CovidBertError, OutputError
from covid_bert.server.access import find
from covid_bert.server.audit import AuditLog
from covid_bert.server.audit_events import AuditEvent, beginning_of
from covid_bert.server.replies import error_reply, route_path

logger = logging.getLogger(__name__)


class Recorder:
    """Adds lines to an audit log; waiting for the disk holds up the request that it is about, and no other.

    Parameters
    ----------
    audit
        The log.
    """

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        # One thread keeps the lines in their order.
        self._thread = ThreadPoolExecutor(1, "audit")

    async def write(self, event: AuditEvent) -> None:
        """Add a line, which is on the disk when this returns.

        Raises
        ------
        OutputError, ServerError
            If it cannot be written.
        """
        await asyncio.get_running_loop().run_in_executor(self._thread, self._append, event)

    async def write_if_possible(self, event: AuditEvent) -> None:
        """Add a line on what has happened already, so that it is of no use to refuse it."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._append_if_possible, event)

    def write_later(self, event: AuditEvent) -> None:
        """Do the same without waiting."""
        self._thread.submit(self._append_if_possible, event)

    def _append(self, event: AuditEvent) -> None:
        self._audit.append(**{field.name: getattr(event, field.name) for field in dataclasses.fields(event)})

    def _append_if_possible(self, event: AuditEvent) -> None:
        try:
            self._append(event)
        except CovidBertError as error:
            # The line that a change has begun is there, and saying that it failed would have it made again.
            logger.error("A line is missing in the audit log: %s", error)


class ChangesRecorded:
    """ASGI middleware that lets a change begin when the audit log says so, and refuses it where that cannot be.

    Parameters
    ----------
    app
        The application behind. Who calls is known before.
    recorder
        Of the audit log.
    """

    def __init__(self, app: ASGIApp, recorder: Recorder) -> None:
        self.app = app
        self.recorder = recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 507, or with 503 if the log's key is lost."""
        event = beginning_of(scope, find(scope["method"], route_path(scope))) if scope["type"] == "http" else None
        if event is not None:
            try:
                await self.recorder.write(event)
            except CovidBertError as error:
                logger.error("A change was refused: %s", error)
                status = error.http_status if isinstance(error, OutputError) else 503
                message = "Nothing was changed, since the audit log cannot be written."
                hint = "The operator must make room on the server's disk, or mend the audit log."
                await error_reply(scope, status, error.code, message, hint)(scope, receive, send)
                return
        await self.app(scope, receive, send)
