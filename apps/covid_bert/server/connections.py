"""Connections whose client says nothing, or reads nothing, are closed: uvicorn itself waits for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # What "auto" stands for depends on what is installed; both have this face.
    from uvicorn.protocols.http.h11_impl import H11Protocol as AutoHTTPProtocol
else:
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

# Seconds from a connection's first sign of a request to the end of the request's head.
HEAD_SECONDS = 20.0
# Seconds that a client may leave a full buffer unread.
UNREAD_SECONDS = 60.0


class ImpatientProtocol(AutoHTTPProtocol):
    """uvicorn's protocol with time limits for the head of each request and for reading an answer."""

    _head_timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a first request."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Stop the clock when a request's head is complete, start it when another one begins."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the clocks."""
        self._stop_clock()
        self._stop_unread_clock()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Give the client some time to read."""
        super().pause_writing()
        # What the client does not take cannot be sent to the end, so it is thrown away.
        self._unread_timer = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client reads."""
        self._stop_unread_clock()
        super().resume_writing()

    def _watch(self) -> None:
        waiting = self.cycle is None or self.cycle.response_complete
        if not waiting:
            self._stop_clock()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._close)

    def _stop_clock(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_unread_clock(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _close(self) -> None:
        self._head_timer = None
        # A request may be under way whose answer came while the clock ran.
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
