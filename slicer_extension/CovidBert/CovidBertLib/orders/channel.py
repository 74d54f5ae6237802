"""The worker's two ends: events that go out, and the order and its cancellation that come in."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

_LONGEST_ORDER_BYTES = 4 * 2**20
_PIECE_BYTES = 64 * 2**10


class Channel:
    """The standard output, which is taken away from everything else: what is printed goes to the standard error."""

    def __init__(self) -> None:
        self._file = os.dup(1)
        os.dup2(2, 1)
        self._lock = threading.Lock()
        self._is_open = True
        self._last: dict[str, Any] = {}
        self.on_broken: Callable[[], None] = lambda: None

    def progress(
        self, stage: str, fraction: float | None = None, place: int | None = None, seconds_left: float | None = None
    ) -> None:
        """Tell how far it is, where that is news.

        Parameters
        ----------
        stage
            What is done just now.
        fraction
            How much of it is done, in [0, 1], or None.
        place
            Jobs before this one, or None.
        seconds_left
            The server's estimate, or None.
        """
        shown = {
            "stage": stage,
            "fraction": None if fraction is None else round(fraction, 2),
            "place": place,
            "seconds_left": None if seconds_left is None else round(seconds_left),
        }
        if shown != self._last:
            self._last = shown
            self._send({"event": "progress", **shown})

    def end(self, event: dict[str, Any]) -> None:
        """Send the last event; whatever follows is left out."""
        self._send(event, is_last=True)

    def mute(self) -> None:
        """Send nothing any more: nobody listens."""
        with self._lock:
            self._is_open = False

    def _send(self, event: dict[str, Any], *, is_last: bool = False) -> None:
        line = json.dumps(event, allow_nan=False).encode("ascii") + b"\n"
        with self._lock:
            if not self._is_open:
                return
            self._is_open = not is_last
            try:
                while line:
                    line = line[os.write(self._file, line) :]
                return
            except OSError:
                self._is_open = False
        self.on_broken()


class Input:
    """The standard input: the order, and then whether it is cancelled."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()
        self._abandoned = threading.Event()
        self._on_abandoned: Callable[[], None] = lambda: None
        self._rest = b""

    def first_line(self) -> bytes:
        """Return the order's line.

        Returns
        -------
        bytes
            The line, or what there is of it where the input ends or is longer than any order.
        """
        while b"\n" not in self._rest and len(self._rest) <= _LONGEST_ORDER_BYTES:
            piece = self._read()
            if not piece:
                break
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def listen(self, on_abandoned: Callable[[], None]) -> None:
        """Follow the input on a thread, and the signals that end a process.

        Parameters
        ----------
        on_abandoned
            Called when nobody waits for the order any more.
        """
        self._on_abandoned = on_abandoned
        for name in ("SIGTERM", "SIGINT", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), lambda *_: self.abandon())
        threading.Thread(target=self._follow, daemon=True).start()

    def is_cancelled(self) -> bool:
        """Whether the order is no longer wanted."""
        return self._cancelled.is_set()

    def is_abandoned(self) -> bool:
        """Whether the one who gave the order is gone."""
        return self._abandoned.is_set()

    def wait_cancelled(self) -> None:
        """Wait until the order is no longer wanted."""
        self._cancelled.wait()

    def abandon(self) -> None:
        """Note that nobody waits any more."""
        # Without the lock of the channel, which the thread that a signal interrupts may hold.
        self._abandoned.set()
        self._cancelled.set()

    def _follow(self) -> None:
        lines = self._rest
        while True:
            *whole, lines = lines.split(b"\n")
            if any(_is_cancel(line) for line in whole):
                self._cancelled.set()
            piece = self._read()
            if not piece:
                break
            lines = (lines + piece)[-_PIECE_BYTES:]
        self.abandon()
        self._on_abandoned()

    def _read(self) -> bytes:
        try:
            # Not through sys.stdin, whose lock a thread would hold when the interpreter ends.
            return os.read(0, _PIECE_BYTES)
        except OSError:
            return b""


def _is_cancel(line: bytes) -> bool:
    try:
        content = json.loads(line)
    except ValueError:
        return False
    return isinstance(content, dict) and content.get("cancel") is True
