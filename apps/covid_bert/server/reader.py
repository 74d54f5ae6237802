"""A process of its own that opens files which clients have sent or ask for: its end is not the server's."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from covid_bert.errors import NotReadyError, TooLongError, UnreadableFileError, WorkerDiedError
from covid_bert.server.jobs.records import typed_error
from covid_bert.workers import MakeCompute, Worker

logger = logging.getLogger(__name__)
MOST_SECONDS = 300.0


class Reader:
    """Asks one worker process, which the first request starts, one request at a time.

    Parameters
    ----------
    make
        Called in the process; returns what answers a request.
    what
        What is read, for messages: ``a mask``.
    most_seconds
        A request that takes longer is given up.
    """

    def __init__(self, make: MakeCompute, what: str, *, most_seconds: float = MOST_SECONDS) -> None:
        self._make, self._what, self._most_seconds = make, what, most_seconds
        self._worker: Worker | None = None
        self._one = threading.Lock()
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The process's id, None before the first request."""
        return None if self._worker is None else self._worker.pid

    def ask(self, request: dict[str, Any]) -> None:
        """Let the process do a request.

        Raises
        ------
        CovidBertError
            What the process raised.
        UnreadableFileError
            If the request ends the process.
        TooLongError
            If it takes too long.
        NotReadyError
            If the server stops.
        """
        with self._one:
            try:
                if self._closed:
                    raise WorkerDiedError("There is no process any more.")
                answer = self._answer(request)
            except WorkerDiedError:
                if self._closed:
                    raise NotReadyError("The server stops.", "Ask again when it has started.") from None
                self._end()
                raise UnreadableFileError(
                    f"The process that reads {self._what} ended while it read it.",
                    "Export it once more; the server's machine may also have too little memory for the study.",
                ) from None
        if "error" in answer:
            raise typed_error(answer["error"], answer["error"].get("details", {}))

    def close(self) -> None:
        """End the process, and with it a request that still runs."""
        self._closed = True
        if (worker := self._worker) is not None:
            worker.kill()

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._worker is None or not self._worker.alive:
            self._end()
            self._worker = Worker(self._make)
            if self._closed:
                # While it was started, `close` found none.
                self._end()
                raise WorkerDiedError("There is no process any more.")
        end = time.monotonic() + self._most_seconds
        # It makes no files but those that the request names.
        self._worker.run(request, Path(tempfile.gettempdir()))
        while time.monotonic() < end:
            answer = self._worker.receive(max(0.0, end - time.monotonic()))
            if answer is not None:
                return answer
        self._end()
        logger.warning("Reading %s was given up after %d seconds.", self._what, self._most_seconds)
        raise TooLongError(f"Reading {self._what} took too long.", "Try again when less runs on the server.")

    def _end(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = None
