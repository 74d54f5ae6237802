"""What a run tells of itself, kept in its folder not more often than anybody reads it."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from covid_bert.errors import OutputError
from covid_bert.retraining.run_folder import RunFolder
from covid_bert.retraining.run_records import LeftOutRecord, LiveRecord

if TYPE_CHECKING:
    from covid_bert.retraining.progress import RunState

Told = Callable[[LiveRecord], None]
Said = Callable[[str], None]
# Seconds between two writings of the same stage and epoch, and between two lines on steps.
_WRITE_SECONDS, _LINE_SECONDS = 1.0, 2.0


class Recorder:
    """Keeps what a run tells, and hands it on.

    Parameters
    ----------
    folder
        Of the run.
    told, said
        Told each state and each line that is kept.
    """

    def __init__(self, folder: RunFolder, told: Told, said: Said) -> None:
        self._folder, self._told, self._said = folder, told, said
        # Shown until the run that is taken up again has a curve of its own.
        self._before = folder.live()
        self._written, self._write_at, self._line_at = LiveRecord(), 0.0, 0.0

    def begin(self) -> None:
        """Note that the run begins, or goes on."""
        if self._before.stage:
            self._folder.log(f"The training goes on; {len(self._before.curve)} epochs were finished.")

    def report(self, state: RunState) -> None:
        """Keep a state."""
        live, last, now = _record(state, self._before), self._written, time.monotonic()
        self._told(live)
        news = any(
            getattr(live, name) != getattr(last, name) for name in ("stage", "epoch", "curve", "left_out", "notes")
        )
        if not news and now < self._write_at:
            return
        self._write_at = now + _WRITE_SECONDS
        # A full disk ends the training where it must write, with its checkpoint, and not here.
        with contextlib.suppress(OutputError):
            self._folder.write_live(live)
            if live.curve != last.curve:
                self._folder.write_curve(live.curve)
            self._written = live

    def log(self, line: str) -> None:
        """Keep a line; of those on steps within an epoch only some."""
        if "Iter:" in line:
            if time.monotonic() < self._line_at:
                return
            self._line_at = time.monotonic() + _LINE_SECONDS
        self._folder.log(line)
        self._said(line)


def _record(state: RunState, before: LiveRecord) -> LiveRecord:
    fit = state.fit
    left_out = tuple(LeftOutRecord(identifier=item.identifier, reason=item.reason) for item in state.left_out)
    told = before.model_copy(
        update={"stage": state.stage, "fraction": state.fraction, "left_out": left_out, "notes": state.notes}
    )
    if fit is None:
        return told.model_copy(update={"seconds_left": None})
    return told.model_copy(
        update={
            "epoch": fit.epoch,
            "epochs": fit.epochs,
            "loss": fit.loss if math.isfinite(fit.loss) else None,
            "validation": _finite(fit.validation),
            "seconds_left": fit.seconds_left,
            "curve": tuple(point.model_copy(update={"validation": _finite(point.validation)}) for point in fit.curve),
        }
    )


def _finite(values: dict[str, float]) -> dict[str, float]:
    """What JSON can hold."""
    return {name: value for name, value in values.items() if math.isfinite(value)}
