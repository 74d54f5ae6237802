"""Orders carried out beside Slicer: one process each, followed without ever waiting.

Python threads only run while Slicer's own thread lets go of the interpreter, which its event loop does not promise; a
process runs in any case, and what goes wrong in it cannot freeze or end the application.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer

from .i18n import tr as _
from .task import WORKER, Callbacks, Failure, Progress, Task, order_line

__all__ = ["Failure", "Progress", "Task", "Tasks", "interpreter"]

_CLOSE_SECONDS = 2.0
# Python would complain of a process that is forgotten before it has ended.
_SENT_OFF: list[subprocess.Popen[bytes]] = []


class Tasks:
    """Starts workers and ends them.

    Parameters
    ----------
    python
        Interpreter of the workers; None for Slicer's own.
    on_line
        Called with a `Failure` if a callback of a task raised.
    """

    def __init__(self, python: str | None = None, on_line: Callable[[Failure], None] | None = None) -> None:
        self._python = python
        self._on_line = on_line
        self._tasks: list[Task] = []

    def start(
        self,
        order: dict[str, Any],
        *,
        done: Callable[[dict[str, Any]], None],
        failed: Callable[[Failure], None],
        cancelled: Callable[[], None] | None = None,
        progress: Callable[[Progress], None] | None = None,
        ended: Callable[[], None] | None = None,
    ) -> Task:
        """Let a worker carry out an order. Nothing happens before the event loop runs again.

        Parameters
        ----------
        order
            What `worker` reads: numbers, texts, lists, objects.
        done
            Called with the result.
        failed
            Called with the `Failure`. Of ``done``, ``failed`` and ``cancelled`` exactly one is called, and once.
        cancelled
            Called if the order was cancelled.
        progress
            Called with `Progress`, before any of those.
        ended
            Called at last, when the process is gone: the order's folder can be removed.

        Returns
        -------
        Task
            The task, running.
        """
        callbacks = Callbacks(done, failed, cancelled, progress, ended)
        task = Task(self._python or interpreter(), order, callbacks, self._failed_callback, self._tasks.remove)
        self._tasks.append(task)
        return task

    def cancel_all(self) -> None:
        """Cancel all tasks without waiting, for example since the scene is closed."""
        for task in list(self._tasks):
            task.cancel()

    def close(self) -> None:
        """End all tasks; none of their callbacks is called any more.

        The workers get up to two seconds in all to cancel their jobs on the server.
        """
        tasks, self._tasks[:] = list(self._tasks), []
        for task in tasks:
            task.abandon()
        end = time.monotonic() + _CLOSE_SECONDS
        for task in tasks:
            task.wait_gone(max(0.0, end - time.monotonic()))

    def send_off(self, order: dict[str, Any]) -> None:
        """Let a worker carry out an order on its own: nobody hears of it, and it outlives Slicer.

        For the last orders before Slicer ends. Nothing is waited for; the worker gives up by itself (`worker`).
        """
        flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
        try:
            worker = subprocess.Popen(
                [self._python or interpreter(), str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                creationflags=flags,
                start_new_session=sys.platform != "win32",
            )
            # The token is in the line: arguments and environment of a process can be read by others.
            _SENT_OFF[:] = [worker, *(each for each in _SENT_OFF if each.poll() is None)]
            if worker.stdin is not None:
                with worker.stdin as line:
                    line.write(order_line(order))
        except OSError:
            logging.info("COVID-BERT: a last order was not sent: no process could be started")

    def _failed_callback(self, error: Exception) -> None:
        if self._on_line is None:
            return
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
        message = _("The panel failed: {error} at {place}.").format(error=type(error).__name__, place=place)
        self._on_line(Failure("panel-error", message, _("Report this line to who maintains the extension.")))


def interpreter() -> str:
    """Return the path of Slicer's own Python for programs without a window."""
    # To a name with folders Windows adds no ending.
    name = "PythonSlicer.exe" if sys.platform == "win32" else "PythonSlicer"
    return shutil.which("PythonSlicer") or str(Path(slicer.app.slicerHome) / "bin" / name)
