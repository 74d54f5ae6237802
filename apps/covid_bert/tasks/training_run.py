"""One run of training, as the server, the command line and MONAI Label's own server do it: in its folder, resumable."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from covid_bert.errors import BusyError, CancelledError, CovidBertError, InternalError, OutputError
from covid_bert.progress import Progress
from covid_bert.retraining.run_folder import LOCK_FILE, RunFolder, retraining_folder
from covid_bert.retraining.run_records import LeftOutRecord, LiveRecord, RunRequest, RunResult

if TYPE_CHECKING:
    from covid_bert.retraining.cases import LabelSet
    from covid_bert.retraining.progress import RunProgress, RunState

# Reads the labels: what was asked, folder with the studies, folder for what is kept between runs, progress.
ReadLabels = Callable[[RunRequest, Path, Path, Progress], "LabelSet"]
# Trains, judges and installs: what was asked, labels, working folder, progress.
Train = Callable[[RunRequest, "LabelSet", Path, "RunProgress"], RunResult]
Stop = Callable[[], bool]
Told = Callable[[LiveRecord], None]
Said = Callable[[str], None]

# Seconds between two writings of the same stage and epoch, between two lines on steps, and between two looks at a lock.
_WRITE_SECONDS, _LINE_SECONDS, _LOCK_SECONDS = 1.0, 2.0, 0.5


def _silent(_: object) -> None:
    pass


@dataclass(frozen=True)
class Together:
    """The processes that do one run.

    Parameters
    ----------
    first
        Whether this is the one that writes and speaks.
    from_first
        Lets the first one make something, and returns it in all.
    """

    first: bool
    from_first: Callable[[Callable[[], Any]], Any]


@contextlib.contextmanager
def together(device: str) -> Iterator[Together]:
    """Join the processes that ``torchrun`` started, if it did; see `covid_bert.retraining.distributed.processes`."""
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        # Without torch: that there are too few labels can be said at once.
        yield Together(True, lambda make: make())
        return
    from covid_bert.retraining import distributed

    with distributed.processes(device):
        yield Together(distributed.rank() == 0, distributed.from_first)


def read_labels(request: RunRequest, studies: Path, cache: Path, progress: Progress) -> LabelSet:
    """Read the labels of a folder of studies; see `covid_bert.datastore.label_set.read_label_set`."""
    from covid_bert.datastore.label_set import read_label_set

    # Classifiers look at the lungs, too: where people have corrected them, at those.
    classes = request.model != "lungs"
    rule = request.parameters.readers
    return read_label_set(studies, rule, masks=True, classes=classes, cache=cache, progress=progress)


def train(request: RunRequest, labels: LabelSet, folder: Path, progress: RunProgress) -> RunResult:
    """Train, judge and install a version; see `covid_bert.retraining.run.run`."""
    from covid_bert.retraining.run import run

    by = request.owner or "covid-bert train"
    outcome = run(request.model, labels, request.parameters, folder, progress, by=by)
    return RunResult(
        name=outcome.head,
        version=outcome.version,
        published=outcome.published,
        gate=outcome.gate,
        metrics=outcome.metrics,
        notes=outcome.notes,
    )


def run_training(
    folder: RunFolder,
    studies: Path,
    stop: Stop,
    *,
    wait: bool,
    read: ReadLabels = read_labels,
    fit: Train = train,
    told: Told = _silent,
    said: Said = _silent,
) -> RunResult:
    """Do a run, or go on with one that was interrupted.

    Under ``torchrun`` all processes call it with the same folder; the first one writes.

    Parameters
    ----------
    folder
        Of the run.
    studies
        Folder with the studies and their labels.
    stop
        Whether the run is asked to stop; asked often.
    wait
        Whether to wait while another process trains on these studies.
    read, fit
        What reads the labels, and what trains.
    told, said
        Told what the run tells of itself, and its lines for people; in the first process only.

    Raises
    ------
    BusyError
        If another process trains on these studies and `wait` is not set.
    CancelledError
        If `stop` said so; the run can be taken up again.
    CovidBertError
        If it fails: its message and hint are for people.
    """
    from covid_bert.retraining.progress import RunProgress

    request, own = folder.request(), retraining_folder(studies)
    with together(request.parameters.device) as processes, contextlib.ExitStack() as held:
        recorder = _Recorder(folder, told, said)
        progress = RunProgress(stop=stop)
        if processes.first:
            held.enter_context(_only_training(own, stop, wait=wait))
            folder.tidy()
            recorder.begin()
            progress.report, progress.log = recorder.report, recorder.log
        progress.update("material", 0.0)
        labels = processes.from_first(lambda: read(request, studies, own / "cache", progress.inner()))
        return fit(request, labels, folder.work, progress)


def run_here(
    folder: RunFolder,
    studies: Path,
    stop: Stop = lambda: False,
    *,
    read: ReadLabels = read_labels,
    fit: Train = train,
    told: Told = _silent,
    said: Said = _silent,
) -> RunResult:
    """Do a run in this process and note in its folder how it goes; parameters and errors as `run_training`.

    A run that was stopped, killed or failed can be taken up again.
    """
    with together(folder.request().parameters.device) as processes:

        def note(**changes: Any) -> None:
            if processes.first:
                folder.write_state(folder.state().changed(**changes))

        note(status="running", started=time.time(), ended=None, error=None)
        try:
            result = run_training(folder, studies, stop, wait=False, read=read, fit=fit, told=told, said=said)
        except BaseException as error:
            # Where the disk is full, the folder says that it runs, and it can be taken up again all the same.
            with contextlib.suppress(OutputError):
                note(**_ending(error))
            raise
        note(status="done", ended=time.time(), result=result)
        if processes.first:
            folder.remove_work()
    return result


def _ending(error: BaseException) -> dict[str, Any]:
    if isinstance(error, CancelledError | KeyboardInterrupt):
        return {"status": "stopped", "ended": time.time()}
    if not isinstance(error, CovidBertError):
        error = InternalError(f"An unexpected error ({type(error).__name__}).", "See the lines before it.")
    return {"status": "failed", "ended": time.time(), "error": error.to_json()}


@contextlib.contextmanager
def _only_training(own: Path, stop: Stop, *, wait: bool) -> Iterator[None]:
    """Keep all others, whoever started them, from training on the same studies."""
    try:
        own.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = FileLock(own / LOCK_FILE, mode=0o600)
        while True:
            try:
                lock.acquire(timeout=_LOCK_SECONDS)
                break
            except Timeout:
                if not wait:
                    raise BusyError(
                        "Another training on these studies runs.", "Wait until it has ended, or stop it."
                    ) from None
            if stop():
                raise CancelledError("The training was stopped.", "It had not begun.")
    except OSError as error:
        raise OutputError(
            f"The folder for trainings cannot be written: {error.strerror}.",
            "Free disk space, or mend the permissions of the program's data folder.",
        ) from error
    try:
        yield
    finally:
        lock.release()


class _Recorder:
    """Keeps what a run tells in its folder, not more often than anybody reads it."""

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
