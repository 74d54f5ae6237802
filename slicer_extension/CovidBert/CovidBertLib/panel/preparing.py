"""What comes before an order: copies of nodes, written in pieces, and what is done with them without a server."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..i18n import tr as _
from ..pieces import Copy, Pieces, copy_in_pieces
from ..problems import CovidBertError
from ..process import Failure, Progress, Task

if TYPE_CHECKING:
    from .context import Panel


class Preparation:
    """Copies on their way to their files, and then to an order that needs no server. Nothing happens before `start`.

    Of ``done``, ``failed`` and ``cancelled`` exactly one is called, and once. The folder is removed unless ``done`` is
    called: then it belongs to the one who is called.

    Parameters
    ----------
    panel
        What the sections share.
    folder
        Private folder of the copies.
    copies
        What is written.
    order
        Returns what is carried out when they are written: of kind ``mask`` or ``compare``; None for nothing.
    done
        Called with the order's result, {} where there is none: by `start` itself where the copies are a single piece
        and there is no order.
    failed
        Called with the `Failure`, which was not shown.
    cancelled
        Called if the user cancelled.
    progress
        Called with the `Progress`.
    kept
        What the next order can go on with, as in `Failure`.
    """

    def __init__(
        self,
        panel: Panel,
        folder: Path,
        copies: Sequence[Copy],
        order: Callable[[], dict[str, Any]] | None,
        *,
        done: Callable[[dict[str, Any]], None],
        failed: Callable[[Failure], None],
        cancelled: Callable[[], None],
        progress: Callable[[Progress], None],
        kept: dict[str, Any] | None = None,
    ) -> None:
        self.kept = dict(kept or {})
        self._panel, self._folder, self._order = panel, folder, order
        self._done, self._failed, self._cancelled = panel.guarded(done), panel.guarded(failed), panel.guarded(cancelled)
        self._progress = progress
        self._task: Task | None = None
        self._is_running = True
        self._is_left = False
        self._pieces: Pieces | None = Pieces(
            copy_in_pieces(copies), done=self._written, failed=self._refused, progress=self._heard
        )

    def start(self) -> None:
        """Write the first piece."""
        if self._pieces is not None:
            self._pieces.start()

    def cancel(self) -> None:
        """Cancel it; ``cancelled`` is called within seconds, unless it ends before."""
        if self._task is not None:
            self._task.cancel(at_once=True)
        elif self._is_running:
            self._leave()
            self._cancelled()

    def abandon(self) -> None:
        """Call nothing back any more."""
        if not self._is_running:
            return
        if self._task is not None:
            self._done = self._failed = self._cancelled = lambda *_arguments: None
            self._progress = lambda _progress: None
            self._is_left = True
            self._task.cancel(at_once=True)
        else:
            self._leave()

    def _heard(self, fraction: float) -> None:
        self._progress(Progress("copying", fraction, None, None))

    def _told(self, progress: Progress) -> None:
        self._progress(progress)

    def _leave(self) -> None:
        self._is_running = False
        if self._pieces is not None:
            self._pieces.stop()
        self._pieces = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _refused(self, problem: CovidBertError) -> None:
        self._leave()
        self._failed(Failure(problem.code, problem.message, problem.hint, kept=self.kept))

    def _written(self) -> None:
        self._pieces = None
        if self._order is None:
            self._is_running = False
            self._done({})
            return
        self._task = self._panel.tasks.start(
            {**self._order(), "folder": str(self._folder)},
            done=self._finished,
            failed=self._broken,
            cancelled=self._ended_by_user,
            progress=self._told,
            ended=self._gone,
        )

    def _finished(self, result: dict[str, Any]) -> None:
        self._is_running = False
        self._done(result)

    def _broken(self, failure: Failure) -> None:
        self._is_running, self._is_left = False, True
        self._failed(failure)

    def _ended_by_user(self) -> None:
        self._is_running, self._is_left = False, True
        self._cancelled()

    def _gone(self) -> None:
        # Not before: the process may still read or write there.
        if self._is_left:
            shutil.rmtree(self._folder, ignore_errors=True)


def server_changed() -> CovidBertError:
    """Return why nothing is sent when the server was changed after a button was pressed."""
    message = _("The server was changed: nothing was sent.")
    return CovidBertError(message, _("Press the button again."), "server-changed")
