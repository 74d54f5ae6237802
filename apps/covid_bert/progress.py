"""Progress, pausing and cancelling, passed as one object into every long loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from covid_bert.errors import CancelledError


def _set_event() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


@dataclass
class Progress:
    """Reports stage and fraction, carries the flags to pause and to cancel, and keeps the seconds of each stage.

    Parameters
    ----------
    report
        Called as ``report(stage, fraction)`` with the stage's name and its finished fraction in [0, 1].
    """

    report: Callable[[str, float], None] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    _cancelled: threading.Event = field(default_factory=threading.Event, repr=False)
    _going: threading.Event = field(default_factory=_set_event, repr=False)

    def pause(self) -> None:
        """Let the computation wait at its next step (from any thread)."""
        self._going.clear()

    def resume(self) -> None:
        """Let a paused computation go on (from any thread)."""
        self._going.set()

    def cancel(self) -> None:
        """Ask the computation to stop at its next step, also a paused one (from any thread)."""
        self._cancelled.set()
        self._going.set()

    @property
    def cancelled(self) -> bool:
        """Whether the computation was asked to stop."""
        return self._cancelled.is_set()

    def step(self) -> None:
        """Wait here while paused, and stop here if the user cancelled.

        Raises
        ------
        CancelledError
            If `cancel` was called.
        """
        if not self.cancelled:
            self._going.wait()
        if self.cancelled:
            raise CancelledError("The computation was cancelled.", "Nothing was written; start it again when you like.")

    def update(self, stage: str, fraction: float) -> None:
        """Report that `fraction` of `stage` is done, wait here while paused, and stop here if the user cancelled.

        Raises
        ------
        CancelledError
            If `cancel` was called.
        """
        self.step()
        if self.report is not None:
            self.report(stage, min(max(fraction, 0.0), 1.0))

    def continued(self) -> Progress:
        """Return a progress for one of several runs on a study: same report and flags, own seconds from here."""
        return Progress(self.report, dict(self.seconds), self._cancelled, self._going)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the enclosed block as stage `name`, reporting 0 at its start and 1 at its end."""
        self.update(name, 0.0)
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        self.update(name, 1.0)
