"""One order in a process of its own, from its start to its last event."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import qt

from .i18n import tr as _
from .problems import in_users_language

WORKER = Path(__file__).resolve().parent / "worker.py"
_LONGEST_LINE_BYTES = 64 * 2**20
_LONGEST_WORDS_BYTES = 4096
# The worker itself says after two seconds that it is cancelled, whatever the server does.
_FORCE_MILLISECONDS = 10_000


@dataclass(frozen=True)
class Failure:
    """Why an order could not be carried out.

    Parameters
    ----------
    code
        The server's or the client's code, such as ``"not-ct"`` or ``"unreachable"``; of the process: ``worker-ended``,
        ``worker-not-started``, ``invalid-answer``, ``panel-error``.
    message
        One sentence that says what is wrong.
    hint
        One sentence that says what to do about it.
    request_id
        What to look for in the server's log, or None.
    retry_after
        Seconds that the server asks to wait, or None.
    kept
        What the next order can go on with: ``session_id`` and ``sha256`` of an upload, or ``image`` and ``version`` of
        what was already saved.
    """

    code: str
    message: str
    hint: str
    request_id: str | None = None
    retry_after: float | None = None
    kept: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """How far an order is.

    Parameters
    ----------
    stage
        ``copying``, ``checking``, ``comparing``, ``connecting``, ``reading``, ``compressing``, ``uploading``,
        ``waiting``, ``downloading``, ``saving``, or what the server calls its own stages.
    fraction
        How much of the stage is done, in [0, 1], or None.
    place
        Jobs before this one, or None.
    seconds_left
        The server's estimate, or None.
    """

    stage: str
    fraction: float | None
    place: int | None
    seconds_left: int | None


@dataclass
class Callbacks:
    """What is called when; see `process.Tasks.start`."""

    done: Callable[[dict[str, Any]], None]
    failed: Callable[[Failure], None]
    cancelled: Callable[[], None] | None = None
    progress: Callable[[Progress], None] | None = None
    ended: Callable[[], None] | None = None


class Task:
    """One order on its way; made by `Tasks.start`."""

    def __init__(
        self,
        python: str,
        order: dict[str, Any],
        callbacks: Callbacks,
        on_error: Callable[[Exception], None],
        on_gone: Callable[[Task], None],
    ) -> None:
        self.kept: dict[str, Any] = {}
        self._line = order_line(order)
        self._python = python
        self._callbacks: Callbacks | None = callbacks
        self._on_error = on_error
        self._on_gone = on_gone
        self._is_running = True
        self._is_gone = False
        self._is_launched = False
        self._has_started = False
        self._received = b""
        self._words = b""
        self._process = qt.QProcess()
        self._process.connect("started()", self._started)
        self._process.connect("readyReadStandardOutput()", self._read)
        self._process.connect("readyReadStandardError()", self._read_words)
        # The end of the output comes also where Slicer loses the news that a child has ended.
        self._process.connect("readChannelFinished()", self._output_ended)
        self._process.connect("errorOccurred(QProcess::ProcessError)", self._error)
        self._process.connect("finished(int,QProcess::ExitStatus)", self._finished)
        qt.QTimer.singleShot(0, self._launch)

    @property
    def running(self) -> bool:
        """Whether none of ``done``, ``failed`` and ``cancelled`` was called yet."""
        return self._is_running

    def cancel(self, *, at_once: bool = False) -> None:
        """Cancel the order; ``cancelled`` is called within seconds, unless the order ends before.

        Parameters
        ----------
        at_once
            Whether it counts as cancelled now, and the process ends by itself: no server has to be told.
        """
        if not self._is_running:
            return
        if not self._has_started:
            self._end("cancelled")
            return
        if at_once:
            # Not killed at once: it may be a launcher, and the one that computes only hears the end of its input.
            self._end("cancelled")
            self._process.closeWriteChannel()
            qt.QTimer.singleShot(_FORCE_MILLISECONDS, self._kill)
            return
        self._process.write(b'{"cancel": true}\n')
        qt.QTimer.singleShot(_FORCE_MILLISECONDS, self._force)

    def abandon(self) -> None:
        """Call nothing back any more, and let the worker hear that nobody waits."""
        self._callbacks = None
        self._is_running = False
        self._process.closeWriteChannel()

    def wait_gone(self, seconds: float) -> None:
        """Wait for the process to end, and end it if it does not."""
        if self._is_launched and not self._process.waitForFinished(round(seconds * 1000)):
            self._process.kill()

    def _launch(self) -> None:
        if self._is_running:
            # The token is in the line: arguments and environment of a process can be read by others.
            self._is_launched = True
            self._process.start(self._python, [str(WORKER)])
        else:
            self._gone()

    def _started(self) -> None:
        self._has_started = True
        self._process.write(self._line)
        self._line = b""
        if not self._is_running:
            self._process.closeWriteChannel()

    def _read(self, *_arguments: Any) -> None:
        self._received += self._process.readAllStandardOutput().data()
        *lines, self._received = self._received.split(b"\n")
        for line in lines:
            self._take(line)
        if len(self._received) > _LONGEST_LINE_BYTES:
            self._received = b""
            self._refuse()

    def _take(self, line: bytes) -> None:
        if not self._is_running:
            return
        try:
            event = json.loads(line)
            kind = event["event"]
            if kind == "progress":
                progress = Progress(*(event[name] for name in ("stage", "fraction", "place", "seconds_left")))
                if self._callbacks is not None and self._callbacks.progress is not None:
                    self._call(self._callbacks.progress, progress)
                return
            if kind not in ("done", "failed", "cancelled"):
                raise ValueError(kind)
            self.kept = dict(event.get("kept") or {})
            given = (event["result"],) if kind == "done" else (_failure(event),) if kind == "failed" else ()
        except (ValueError, TypeError, KeyError, RecursionError):
            self._refuse()
            return
        self._end(kind, *given)

    def _refuse(self) -> None:
        message = _("The process beside Slicer answered something that is no answer.")
        self._end("failed", Failure("invalid-answer", message, _("Try again; reinstall the extension if it stays so.")))
        self._process.kill()

    def _read_words(self, *_arguments: Any) -> None:
        self._words = (self._words + self._process.readAllStandardError().data())[-_LONGEST_WORDS_BYTES:]

    def _output_ended(self, *_arguments: Any) -> None:
        self._read()
        if self._is_running:
            self._read_words()
            words = self._words.decode("utf-8", "replace").strip().splitlines()
            message = _("The process beside Slicer ended without an answer.")
            hint = _("Try again. Its last words: {words}").format(words=words[-1][:200] if words else "-")
            self._end("failed", Failure("worker-ended", message, hint))
        self._gone()

    def _finished(self) -> None:
        self._output_ended()
        self._let_go()

    def _error(self) -> None:
        if self._has_started:
            return  # The end of its output says what that means.
        if self._is_running:
            message = _("The process beside Slicer could not be started.")
            hint = _("Check that PythonSlicer lies beside Slicer's program, and that it may be run.")
            self._end("failed", Failure("worker-not-started", message, hint))
        self._gone()

    def _force(self) -> None:
        if self._is_running:
            self._end("cancelled")
            self._process.kill()

    def _kill(self) -> None:
        if not self._is_gone:
            self._process.kill()

    def _end(self, kind: str, *arguments: Any) -> None:
        if not self._is_running:
            return
        self._is_running = False
        callback = getattr(self._callbacks, kind) if self._callbacks is not None else None
        if callback is not None:
            self._call(callback, *arguments)

    def _gone(self) -> None:
        if self._is_gone:
            return
        self._is_gone = True
        if not self._is_launched or not self._has_started:
            self._let_go()
        if self._callbacks is not None:
            self._on_gone(self)
            if self._callbacks.ended is not None:
                self._call(self._callbacks.ended)

    def _let_go(self) -> None:
        """Let Qt delete the process, which holds this task by its signals.

        Not before it has ended: Qt would end it and wait for that. Where the news of its end is lost, it is kept.
        """
        self._process.deleteLater()

    def _call(self, callback: Callable[..., None], *arguments: Any) -> None:
        try:
            callback(*arguments)
        except Exception as error:
            self._on_error(error)


def order_line(order: dict[str, Any]) -> bytes:
    """Return an order as the worker reads it."""
    return json.dumps(order, allow_nan=False).encode("ascii") + b"\n"


def _failure(event: dict[str, Any]) -> Failure:
    code, message, hint = (str(event[name]) for name in ("code", "message", "hint"))
    message, hint = in_users_language(code, message, hint)
    return Failure(code, message, hint, event["request_id"], event["retry_after"], dict(event["kept"]))
