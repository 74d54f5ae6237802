"""Trainings among the jobs of their users."""

from __future__ import annotations

from typing import Any

from covid_bert.errors import CancelledError, NotReadyError
from covid_bert.server.authentication import Caller
from covid_bert.server.jobs.records import Job, typed_error
from covid_bert.server.training.runs import Run
from covid_bert.server.training.shown import as_job
from covid_bert.server.training.trainings import Trainings


class TrainingJobs:
    """Shows the trainings to those who asked for them, and to administrators.

    Parameters
    ----------
    trainings
        Of the server.
    """

    def __init__(self, trainings: Trainings) -> None:
        self._trainings = trainings

    def jobs(self, caller: Caller) -> list[Job]:
        """The trainings that a caller may see, the newest first."""
        return [self._shown(run) for run in reversed(self._trainings.runs()) if _may(run, caller)]

    def job(self, identifier: str, caller: Caller) -> Job | None:
        """A training, or None if there is none of that id that the caller may see."""
        run = self._find(identifier, caller)
        return None if run is None else self._shown(run)

    def cancel(self, identifier: str, caller: Caller) -> Job | None:
        """Ask a training to stop; see `job`.

        Raises
        ------
        OutputError
            If it cannot be noted.
        """
        if self._find(identifier, caller) is None:
            return None
        self._trainings.stop(identifier)
        return self.job(identifier, caller)

    def result(self, identifier: str, caller: Caller) -> dict[str, Any] | None:
        """What came of a training; see `job`.

        Raises
        ------
        NotReadyError
            If it waits or runs.
        CancelledError
            If it was stopped.
        CovidBertError
            If it failed: its error.
        """
        run = self._find(identifier, caller)
        if run is None:
            return None
        if run.standing.status == "stopped":
            raise CancelledError("The training was stopped.", "Ask for a new one when you like.")
        if run.standing.error is not None:
            raise typed_error(run.standing.error, {})
        if run.standing.result is None:
            raise NotReadyError("The training has no result yet.", "Ask for its state until it is done.")
        return run.standing.result.model_dump(mode="json")

    def _find(self, identifier: str, caller: Caller) -> Run | None:
        run = self._trainings.find(identifier)
        return run if run is not None and _may(run, caller) else None

    def _shown(self, run: Run) -> Job:
        waiting = [other for other in self._trainings.runs() if other.standing.status == "waiting"]
        return as_job(run, waiting.index(run) if run in waiting else 0)


def _may(run: Run, caller: Caller) -> bool:
    return caller.administrator or run.request.owner == caller.name
