"""One training of the server, and what is said where another one cannot begin, or this one cannot go on."""

from __future__ import annotations

from dataclasses import dataclass, field

from covid_bert.errors import BusyError, WorkerDiedError
from covid_bert.retraining.run_folder import RunFolder
from covid_bert.retraining.run_records import RunRequest, Standing

# Trainings that may wait for the one that runs: one of each model.
MOST_WAITING = 4
_UNKNOWN_RETRY, _LONGEST_RETRY = 60, 600


@dataclass
class Run:
    """One training of the server: its folder, what was asked, and how it stands."""

    folder: RunFolder
    request: RunRequest
    standing: Standing
    _seen: int = field(default=0, compare=False)

    @property
    def ended(self) -> bool:
        """Whether it will not go on here."""
        return self.standing.settled

    def look_again(self) -> None:
        """Note what the command line has made of a run that had ended here, and that it may have gone on with."""
        written = self.folder.state_time()
        if written and (written != self._seen or self.standing.status == "running"):
            self._seen = written
            # The folder of the studies has those of the runs, and their lock.
            self.standing = self.folder.state_outside(self.folder.path.parent.parent)


def busy(unfinished: list[Run]) -> BusyError:
    """Return the error of a training that may not begin, nor wait.

    Parameters
    ----------
    unfinished
        Those that run or wait, at least one.
    """
    first = unfinished[0]
    live = first.folder.live()
    left = int(live.seconds_left) if live.seconds_left is not None else _UNKNOWN_RETRY
    retry = min(max(left, 1), _LONGEST_RETRY)
    if len(unfinished) > MOST_WAITING:
        text = f"{len(unfinished)} trainings run or wait already."
        return BusyError(text, "Wait until one has ended.", retry_after=retry)
    where = f", epoch {live.epoch} of {live.epochs}" if live.epoch else ""
    return BusyError(
        f"A training of {first.request.model} runs already{where}.",
        "Wait until it has ended, stop it, or ask with enqueue=true: yours then begins after it.",
        retry_after=retry,
    )


def hopeless(run: Run) -> WorkerDiedError:
    """Return the error of a training whose process ended too often."""
    deaths = run.standing.deaths
    return WorkerDiedError(
        f"The process of the training ended unexpectedly {len(deaths)} times, the last time at: {deaths[-1]}.",
        "This machine probably has too little memory for it: see its system log, and the server's.",
    )
