"""What is kept of a run of training, so that it survives the end of any process: what was asked, and how it stands."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from covid_bert.retraining.parameters import TrainingParameters
from covid_bert.retraining.records import CurvePoint, GateDecision, Measured

Origin = Literal["server", "command", "monailabel"]
Status = Literal["waiting", "running", "done", "failed", "stopped"]
ENDED: frozenset[Status] = frozenset({"done", "failed", "stopped"})
# Deaths at one place after which it is the run's own fault, and deaths without a new epoch in between.
MOST_DEATHS_AT_A_PLACE = 3
MOST_DEATHS_WITHOUT_AN_EPOCH = 12


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RunRequest(_Record):
    """What was asked; never changed.

    Parameters
    ----------
    id
        uuid4 in hexadecimal.
    model
        Name of the trainer.
    parameters
        Checked.
    owner
        Name of the token of who asked; empty for the command line.
    origin
        Who runs it, and so who resumes it: the server, the command line, or MONAI Label's own server.
    created
        Seconds since the epoch.
    """

    id: str = Field(pattern=r"^[0-9a-f]{32}$")
    model: str
    parameters: TrainingParameters
    owner: str = ""
    origin: Origin
    created: float


class RunResult(_Record):
    """What came of a run.

    Parameters
    ----------
    name, version
        Of the weights that were made: the head of the model.
    published
        Whether they are live.
    gate
        What the gate said.
    metrics
        Of the version, on the frozen validation set and on the frozen test set apart.
    notes
        Sentences for people.
    """

    name: str
    version: str
    published: bool
    gate: GateDecision
    metrics: tuple[Measured, ...] = ()
    notes: tuple[str, ...] = ()


class Standing(_Record):
    """How a run stands; written by whoever runs it, not by the process that computes.

    Parameters
    ----------
    status
        ``waiting`` (also after a stop of the server), ``running``, or how it ended.
    taken_up
        Whether the command line went on with this run of the server, which leaves it alone from then on.
    started, ended
        Seconds since the epoch; None before that.
    stop_asked
        Whether somebody asked it to stop: it is then not resumed.
    deaths
        Where its process ended unexpectedly, since the last epoch that was new.
    farthest
        Number of the last finished epoch that a death found.
    error
        Of a failed run: code, message and hint.
    result
        Of a done one.
    """

    status: Status = "waiting"
    taken_up: bool = False
    started: float | None = None
    ended: float | None = None
    stop_asked: bool = False
    deaths: tuple[str, ...] = ()
    farthest: int = 0
    error: dict[str, Any] | None = None
    result: RunResult | None = None

    def changed(self, **changes: Any) -> Standing:
        """Return the state with some fields changed."""
        return self.model_copy(update=changes)

    def died(self, live: LiveRecord) -> Standing:
        """Return the state after the process ended unexpectedly.

        Parameters
        ----------
        live
            What it had told before.
        """
        finished = len(live.curve)
        before = self.deaths if finished <= self.farthest else ()
        place = f"{live.stage or 'starting'}, epoch {live.epoch}, {live.fraction:.0%}"
        return self.changed(deaths=(*before, place), farthest=max(finished, self.farthest))

    @property
    def settled(self) -> bool:
        """Whether the server has nothing to do for it any more."""
        return self.taken_up or self.status in ENDED

    @property
    def hopeless(self) -> bool:
        """Whether the process would probably end at the same place again."""
        if not self.deaths:
            return False
        here = self.deaths.count(self.deaths[-1])
        return here >= MOST_DEATHS_AT_A_PLACE or len(self.deaths) >= MOST_DEATHS_WITHOUT_AN_EPOCH


class LeftOutRecord(_Record):
    """A labelled study that is not used, and why."""

    identifier: str
    reason: str


class LiveRecord(_Record):
    """What the process that computes tells while it does.

    Parameters
    ----------
    stage
        What it is at; empty before it has begun.
    fraction
        Of the whole run that is done, in [0, 1].
    epoch, epochs
        The one that is computed, from 1, and the most there will be; None before the first.
    loss
        Mean of the epoch so far.
    validation
        Of the last finished epoch, by measure; the first decides.
    seconds_left
        To the end of the last epoch at most; None while it is not known.
    curve
        All finished epochs.
    left_out
        Labelled studies that are not used.
    notes
        Sentences for people.
    """

    stage: str = ""
    fraction: float = 0.0
    epoch: int | None = None
    epochs: int | None = None
    loss: float | None = None
    validation: dict[str, float] = Field(default_factory=dict)
    seconds_left: float | None = None
    curve: tuple[CurvePoint, ...] = ()
    left_out: tuple[LeftOutRecord, ...] = ()
    notes: tuple[str, ...] = ()
