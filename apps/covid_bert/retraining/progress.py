"""What a run tells while it works, and how it is asked to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from covid_bert.errors import CancelledError
from covid_bert.progress import Progress
from covid_bert.retraining.cases import LeftOut

if TYPE_CHECKING:
    from covid_bert.retraining.learner import FitProgress

# Shares of a run's time at which its stages begin and end; the names are for people and programs.
STAGES = {"material": (0.0, 0.15), "training": (0.15, 0.85), "judging": (0.85, 0.98), "installing": (0.98, 1.0)}


@dataclass(frozen=True)
class RunState:
    """Where a run is.

    Parameters
    ----------
    stage
        A key of `STAGES`.
    fraction
        Of the whole run, in [0, 1]; never falls.
    fit
        The fit under way or the last one; None before it.
    left_out
        Studies that could not be used so far.
    notes
        Sentences for people.
    """

    stage: str = "material"
    fraction: float = 0.0
    fit: FitProgress | None = None
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As the server's clients get it."""
        fit = self.fit
        curve = [] if fit is None else [point.model_dump(exclude={"seconds"}) for point in fit.curve]
        return {
            "stage": self.stage,
            "fraction": round(self.fraction, 4),
            "epoch": None if fit is None else fit.epoch,
            "epochs": None if fit is None else fit.epochs,
            "loss": None if fit is None else fit.loss,
            "validation": {} if fit is None else fit.validation,
            "seconds_left": None if fit is None else fit.seconds_left,
            "curve": curve,
            "left_out": [{"identifier": item.identifier, "reason": item.reason} for item in self.left_out],
            "notes": list(self.notes),
        }


@dataclass
class RunProgress:
    """Passed through a whole run.

    Parameters
    ----------
    report
        Told each new state, a few times a second at most while fitting.
    stop
        Whether the run is asked to stop; asked often, so it must be quick.
    log
        Told lines for the log: the curve as MONAI's ``StatsHandler`` writes it, and notes. No identifiers in them.
    """

    report: Callable[[RunState], None] = lambda _state: None
    stop: Callable[[], bool] = lambda: False
    log: Callable[[str], None] = lambda _line: None
    state: RunState = field(default_factory=RunState)

    def update(self, stage: str, share: float) -> None:
        """Tell that `share` of a stage is done, and end here if the run is asked to stop.

        Raises
        ------
        CancelledError
            If `stop` says so.
        """
        self.check()
        first, last = STAGES[stage]
        reached = first + (last - first) * min(max(share, 0.0), 1.0)
        self._tell(replace(self.state, stage=stage, fraction=max(self.state.fraction, reached)))

    def finish(self) -> None:
        """Tell that all is done; what has been installed cannot be stopped any more."""
        self._tell(replace(self.state, stage="installing", fraction=1.0))

    def check(self) -> None:
        """End here if the run is asked to stop.

        Raises
        ------
        CancelledError
            If `stop` says so.
        """
        if self.stop():
            raise CancelledError("The training was stopped.", "Start it again and it goes on where it was.")

    def fitting(self, share: tuple[float, float] = (0.0, 1.0)) -> Callable[[FitProgress], None]:
        """What `fit` is to tell its progress.

        Parameters
        ----------
        share
            Of the stage ``training`` that this fit takes, first and last, where a run has several fits.
        """
        first, last = share

        def told(fit: FitProgress) -> None:
            done = (len(fit.curve) if fit.curve and fit.curve[-1].epoch == fit.epoch else fit.epoch - 1) / fit.epochs
            if done * fit.epochs < fit.epoch:
                done += fit.step / fit.steps / fit.epochs
            begin, end = STAGES["training"]
            reached = begin + (end - begin) * (first + (last - first) * done)
            self.log(fit.line)
            self._tell(replace(self.state, stage="training", fraction=max(self.state.fraction, reached), fit=fit))

        return told

    def leave_out(self, identifier: str, reason: str) -> None:
        """Name a study that cannot be used, once."""
        left = LeftOut(identifier, reason)
        if left not in self.state.left_out:
            self._tell(replace(self.state, left_out=(*self.state.left_out, left)))

    def note(self, sentence: str) -> None:
        """Tell people something."""
        self.log(sentence)
        self._tell(replace(self.state, notes=(*self.state.notes, sentence)))

    def inner(self) -> Progress:
        """For a computation that knows only `Progress`: it is cancelled when the run is asked to stop."""
        return Progress(lambda _stage, _fraction: self.check())

    def _tell(self, state: RunState) -> None:
        self.state = state
        self.report(state)
