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

from covid_bert.errors import BusyError, CancelledError, CovidBertError, InternalError, OutputError
from covid_bert.files import write_private
from covid_bert.progress import Progress
from covid_bert.retraining.run_folder import LOCK_FILE, RunFolder, retraining_folder
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

# In the working folder of a run.
LABELS_FILE = "labels.json"
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
        recorder = Recorder(folder, told, said)
        progress = RunProgress(stop=stop)
        if processes.first:
            held.enter_context(_only_training(own, stop, wait=wait))
            folder.tidy()
            recorder.begin()
            progress.report, progress.log = recorder.report, recorder.log
        progress.update("material", 0.0)
        labels = processes.from_first(
            lambda: _labels_at_begin(folder.work, lambda: read(request, studies, own / "cache", progress.inner()))
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
