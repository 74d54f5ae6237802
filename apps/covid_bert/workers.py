"""A process that computes: its own side (`work`), and its owner's handle on it (`Worker`).

The owner is the server, or the router beside a PACS. They exchange JSON over a pipe, so that nothing that a study makes
the worker send is run by its owner. The worker ends when the owner's end of the pipe closes, however the owner ended.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from covid_bert.errors import CovidBertError, InternalError, OutOfMemoryError, WorkerDiedError
from covid_bert.logs import configure_child, describe
from covid_bert.progress import Progress

logger = logging.getLogger(__name__)

# Images in the folder by what they show, the reply's own first; and the reply's JSON.
Outcome = tuple[dict[str, Path], dict[str, Any]]
Compute = Callable[[dict[str, Any], Progress, Path], Outcome]
MakeCompute = Callable[[], Compute]

# Seconds between two reports of the same stage.
_REPORT_INTERVAL = 0.1
# For a killed process to end; it cannot while it waits for a disk or a network that does not answer.
_END_SECONDS = 10.0
_EXPENDABLE = "500"
# In the worker: stages and outcomes may come from different threads.
_sending = threading.Lock()


class Worker:
    """The server's handle on one process that computes one request at a time.

    Parameters
    ----------
    make_compute
        Called once in the process (so it must be picklable); what it returns is called as
        ``compute(request, progress, folder)`` and returns images in `folder`, and the JSON.
    """

    def __init__(self, make_compute: MakeCompute) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, make_compute), name="covid-bert-worker", daemon=True)
        self._process.start()
        # The process ignores the signal with which multiprocessing would end it at this one's end.
        atexit.register(self._process.kill)
        # With the server's copy closed, the pipe reads as ended when the process ends.
        theirs.close()

    @property
    def pid(self) -> int:
        """The process's id."""
        return int(self._process.pid or 0)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.is_alive()

    def run(self, request: dict[str, Any], folder: Path) -> None:
        """Begin a request.

        Raises
        ------
        WorkerDiedError
            If the process has ended.
        """
        self._send({"request": request, "folder": str(folder)})

    def cancel(self) -> None:
        """Ask the process to stop computing at its next step."""
        with contextlib.suppress(WorkerDiedError):
            self._send({"cancel": True})

    def pause(self) -> None:
        """Ask the process to wait at its next step, until `resume` or `cancel`."""
        with contextlib.suppress(WorkerDiedError):
            self._send({"pause": True})

    def resume(self) -> None:
        """Let the process go on."""
        with contextlib.suppress(WorkerDiedError):
            self._send({"pause": False})

    def receive(self, timeout: float) -> dict[str, Any] | None:
        """Wait for what the process says next.

        Parameters
        ----------
        timeout
            Seconds.

        Returns
        -------
        dict or None
            ``{stage, fraction}``, ``{files, params}`` at the end or ``{error}``; None after the timeout.

        Raises
        ------
        WorkerDiedError
            If the process has ended.
        """
        try:
            if not self._connection.poll(timeout):
                return None
            message: dict[str, Any] = json.loads(self._connection.recv_bytes())
        except (EOFError, OSError) as error:
            raise _died() from error
        return message

    def kill(self) -> None:
        """End the process at once. One that the system does not end is left alone, with a line in the log."""
        self._process.kill()
        self._process.join(_END_SECONDS)
        if self.alive:
            logger.error("A worker that was killed does not end: process %d", self.pid)
        atexit.unregister(self._process.kill)
        self._connection.close()

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._connection.send_bytes(json.dumps(message).encode())
        except OSError as error:
            raise _died() from error


def work(connection: Connection, make_compute: MakeCompute) -> None:
    """Compute requests from the pipe, one after the other, until it closes; the process's main function."""
    # Ctrl-C in a terminal, and a service manager's stop, reach all processes; the server decides when this one ends.
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    # Where memory runs out, Linux ends this process, which can be started again, rather than the server.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_EXPENDABLE)
    os.umask(0o077)
    configure_child()
    orders: queue.SimpleQueue[tuple[dict[str, Any], Path, Progress]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, orders), daemon=True).start()
    compute = make_compute()
    while True:
        request, folder, progress = orders.get()
        _send_bytes(connection, _answer(compute, request, folder, progress))


def _listen(connection: Connection, orders: queue.SimpleQueue[tuple[dict[str, Any], Path, Progress]]) -> None:
    """Take orders while another thread computes, and end the process when there is no server any more."""
    progress = Progress()
    while True:
        try:
            order = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(1)
        if "cancel" in order:
            progress.cancel()
            continue
        if "pause" in order:
            (progress.pause if order["pause"] else progress.resume)()
            continue
        progress = Progress(_reporter(connection))
        orders.put((order["request"], Path(order["folder"]), progress))


def _reporter(connection: Connection) -> Callable[[str, float], None]:
    last_stage, last_time = "", 0.0

    def report(stage: str, fraction: float) -> None:
        nonlocal last_stage, last_time
        now = time.monotonic()
        if stage != last_stage or now - last_time >= _REPORT_INTERVAL:
            last_stage, last_time = stage, now
            _send_bytes(connection, json.dumps({"stage": stage, "fraction": fraction}))

    return report


def _answer(compute: Compute, request: dict[str, Any], folder: Path, progress: Progress) -> str:
    """Compute, and return the outcome as JSON, whatever it is."""
    try:
        files, params = compute(request, progress, folder)
        names = {shows: path.relative_to(folder).name for shows, path in files.items()}
        return json.dumps({"files": names, "params": params}, allow_nan=False)
    except Exception as error:
        return json.dumps({"error": _explained(error)})


def _explained(error: Exception) -> dict[str, Any]:
    # MONAI Label's tasks raise FastAPI's exceptions, with the error as JSON in them.
    detail = getattr(error, "detail", None)
    if isinstance(detail, dict):
        return detail
    if isinstance(error, MemoryError):
        error = OutOfMemoryError(
            "The study needs more memory than this machine has free.", "Try again when less runs on it."
        )
    if isinstance(error, CovidBertError):
        return error.to_json()
    logger.error("A job failed: %s", describe(error))
    return InternalError(f"An unexpected error ({type(error).__name__}).", "Look for it in the log.").to_json()


def _send_bytes(connection: Connection, message: str) -> None:
    try:
        with _sending:
            connection.send_bytes(message.encode())
    except OSError:
        os._exit(1)


def _died() -> WorkerDiedError:
    return WorkerDiedError(
        "The process that computed this study ended unexpectedly.",
        "Submit the study again. If it happens again, this machine may have too little memory for it.",
    )
