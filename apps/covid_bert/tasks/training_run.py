"""One run of training, as the server, the command line and MONAI Label's own server do it: in its folder, resumable."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from covid_bert.errors import (
    BusyError,
    CancelledError,
    ConflictError,
    CovidBertError,
    InternalError,
    OutputError,
    ParameterError,
)
from covid_bert.files import write_private
from covid_bert.progress import Progress
from covid_bert.retraining.derived import LABELS_FILE, label_cache, retraining_folder
from covid_bert.retraining.run_folder import LOCK_FILE, RunFolder
from covid_bert.retraining.run_records import RunRequest, RunResult
from covid_bert.tasks.training_record import Recorder, Said, Told

if TYPE_CHECKING:
    from covid_bert.retraining.cases import LabelSet
    from covid_bert.retraining.progress import RunProgress

# Reads the labels: what was asked, folder with the studies, folder for what is kept between runs, progress.
ReadLabels = Callable[[RunRequest, Path, Path, Progress], "LabelSet"]
# Trains, judges and installs: what was asked, labels, working folder, progress.
Train = Callable[[RunRequest, "LabelSet", Path, "RunProgress"], RunResult]
Stop = Callable[[], bool]

_LOCK_SECONDS = 0.5


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
    from covid_bert.pacs.studies import bring_labelled

    bring_labelled(studies, progress)
    # Classifiers look at the lungs, too: where people have corrected them, at those.
    classes = request.model != "lungs"
    rule = request.parameters.readers
    return read_label_set(studies, rule, masks=True, classes=classes, cache=cache, progress=progress)


def train(request: RunRequest, labels: LabelSet, folder: Path, progress: RunProgress) -> RunResult:
    """Train, judge and install a version; see `covid_bert.retraining.run.run`."""
    from covid_bert.retraining.run import run

    by = request.owner or "covid-bert train"
    outcome = run(request.model, labels, request.parameters, folder, progress, identity=request.id, by=by)
    return RunResult(
        name=outcome.head,
        version=outcome.version,
        published=outcome.published,
        gate=outcome.gate,
        metrics=outcome.metrics,
        notes=outcome.notes,
    )


def run_training(
    folder: RunFolder, studies: Path, stop: Stop, *, read: ReadLabels = read_labels, fit: Train = train
) -> RunResult:
    """Do a run, or go on with one that was interrupted, once no other process trains on these studies.

    Parameters
    ----------
    folder
        Of the run; its state is the caller's.
    studies
        Folder with the studies and their labels.
    stop
        Whether the run is asked to stop; asked often.
    read, fit
        What reads the labels, and what trains.

    Raises
    ------
    CancelledError
        If `stop` said so; the run can be taken up again.
    CovidBertError
        If it fails: its message and hint are for people.
    """
    with together(folder.request().parameters.device) as processes, _alone(processes, studies, stop, wait=True):
        return _go_on(processes, folder, studies, stop, read, fit)


def _go_on(
    processes: Together,
    folder: RunFolder,
    studies: Path,
    stop: Stop,
    read: ReadLabels,
    fit: Train,
    told: Told = _silent,
    said: Said = _silent,
) -> RunResult:
    from covid_bert.retraining.progress import RunProgress

    request, cache = folder.request(), label_cache(studies)
    progress = RunProgress(stop=stop)
    if processes.first:
        recorder = Recorder(folder, told, said)
        folder.tidy()
        recorder.begin()
        progress.report, progress.log = recorder.report, recorder.log
    progress.update("material", 0.0)
    labels = processes.from_first(
        lambda: _labels_at_begin(folder.work, lambda: read(request, studies, cache, progress.inner()))
    )
    return fit(request, labels, folder.work, progress)


def _labels_at_begin(work: Path, read: Callable[[], LabelSet]) -> LabelSet:
    """The labels as they were when the run began: a checkpoint goes on with what it has learned from."""
    from pydantic import TypeAdapter, ValidationError

    from covid_bert.retraining.cases import LabelSet

    kept, form = work / LABELS_FILE, TypeAdapter(LabelSet)
    with contextlib.suppress(OSError, ValidationError):
        return form.validate_json(kept.read_bytes())
    labels = read()
    try:
        work.mkdir(mode=0o700, exist_ok=True)
        write_private(kept, form.dump_json(labels))
    except OSError as error:
        raise _not_written(error) from error
    return labels


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
    """Do a run in this process and note in its folder how it goes.

    A run that was stopped, killed or failed can be taken up again. Under ``torchrun`` all processes call it with the
    same folder; the first one writes.

    Parameters
    ----------
    folder, studies, stop, read, fit
        As for `run_training`.
    told, said
        Told what the run tells of itself, and its lines for people; in the first process only.

    Raises
    ------
    BusyError
        If another process trains on these studies; nothing is changed, and a new run is removed again.
    ParameterError, ConflictError
        As `may_go_on`.
    CovidBertError
        As `run_training`.
    """
    request = folder.request()
    with contextlib.ExitStack() as held:
        processes = held.enter_context(together(request.parameters.device))
        try:
            held.enter_context(_alone(processes, studies, stop, wait=False))
        except BusyError:
            if request.origin != "server" and folder.state().started is None:
                folder.remove()
            raise
        if processes.first:
            may_go_on(folder)

        def note(**changes: Any) -> None:
            if processes.first:
                folder.write_state(folder.state().changed(**changes))

        taken_up = request.origin == "server"
        note(status="running", taken_up=taken_up, stop_asked=False, started=time.time(), ended=None, error=None)
        try:
            result = _go_on(processes, folder, studies, stop, read, fit, told, said)
        except BaseException as error:
            # Where the disk is full, the folder says that it runs, and it can be taken up again all the same.
            with contextlib.suppress(OutputError):
                note(**_ending(error))
            raise
        note(status="done", ended=time.time(), result=result)
        if processes.first:
            folder.remove_work()
    return result


def may_go_on(folder: RunFolder) -> None:
    """Refuse to go on with a run that has ended well, or that the server will go on with.

    Raises
    ------
    ParameterError
        If it has ended well.
    ConflictError
        If it waits or runs on the server.
    """
    standing = folder.state()
    if standing.status == "done":
        raise ParameterError("The run in that folder has ended well.", "Leave --run out to begin a new one.")
    if folder.request().origin == "server" and not standing.settled:
        raise ConflictError(
            "The run in that folder belongs to the server, which goes on with it as long as it runs.",
            "Start the server; or stop the training there first, then give the command again.",
        )


def _ending(error: BaseException) -> dict[str, Any]:
    if isinstance(error, CancelledError | KeyboardInterrupt):
        return {"status": "stopped", "ended": time.time()}
    if not isinstance(error, CovidBertError):
        error = InternalError(f"An unexpected error ({type(error).__name__}).", "See the lines before it.")
    return {"status": "failed", "ended": time.time(), "error": error.to_json()}


@contextlib.contextmanager
def _alone(processes: Together, studies: Path, stop: Stop, *, wait: bool) -> Iterator[None]:
    """Keep all others, whoever started them, from training on the same studies."""
    if not processes.first:
        yield
        return
    own = retraining_folder(studies)
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
        raise _not_written(error) from error
    try:
        yield
    finally:
        lock.release()


def _not_written(error: OSError) -> OutputError:
    return OutputError(
        f"The folder for trainings cannot be written: {error.strerror}.",
        "Free disk space, or mend the permissions of the program's data folder.",
    )
