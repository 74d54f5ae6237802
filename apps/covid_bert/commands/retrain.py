"""`covid-bert train lungs|covid_s1|covid_s2|covid_baseline`: train a model on the labels of a folder of studies."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from covid_bert.commands.owner import refuse_root_at_home, refuse_root_in
from covid_bert.errors import NotFoundError, OutputError, ParameterError
from covid_bert.retraining.derived import retraining_folder
from covid_bert.retraining.parameters import TrainingParameters
from covid_bert.retraining.run_folder import REQUEST_FILE, RunFolder, new_run
from covid_bert.retraining.run_records import LiveRecord, RunRequest, RunResult
from covid_bert.retraining.runs_elsewhere import is_of_others, note_elsewhere
from covid_bert.tasks.training_run import ReadLabels, Together, Train, may_go_on, read_labels, run_here, together, train


def retrain(
    model: str,
    studies: Path,
    run: Path | None,
    given: dict[str, Any],
    console: Console,
    *,
    read: ReadLabels = read_labels,
    fit: Train = train,
) -> RunResult:
    """Train a model, or go on with a run that was interrupted, and say what came of it.

    Under ``torchrun`` all processes compute, and the first one speaks.

    Parameters
    ----------
    model
        One of `covid_bert.retraining.parameters.TRAINERS`.
    studies
        Folder with the studies and their labels.
    run
        Folder of the run: taken up again if there is one in it, else made. None for a new one in the data folder.
    given
        Those of `TrainingParameters` that were given.
    console
        Told of progress.
    read, fit
        What reads the labels, and what trains.

    Raises
    ------
    NotFoundError
        If there is no such folder of studies.
    ParameterError
        If a parameter is not allowed, or differs from those of the run that is taken up again; if that run has ended
        well, or is of other studies; or if this is root where a server of another user works.
    ConflictError
        If the server goes on with that run.
    CovidBertError
        As `covid_bert.tasks.training_run.run_here`.
    """
    if not studies.is_dir():
        raise NotFoundError(f"There is no folder {studies.name}.", "Give the folder with the studies.")
    refuse_root_in(studies)
    refuse_root_at_home()
    parameters = TrainingParameters.of_request(given)
    with together(parameters.device) as processes, _stopping() as stop, _tidy(studies, run, processes):
        folder = RunFolder(processes.from_first(lambda: _folder(model, studies, run, given, parameters)))
        speaker = _Speaker(console if processes.first else Console(quiet=True))
        speaker.say(f"Training {model}; if it is interrupted, go on with --run {folder.path}")
        result = run_here(folder, studies, stop.is_set, read=read, fit=fit, told=speaker.told, said=speaker.say)
        speaker.result(result, folder.live())
    return result


def _folder(model: str, studies: Path, run: Path | None, given: dict[str, Any], parameters: TrainingParameters) -> Path:
    """The folder of the run, with its request in it."""
    runs = retraining_folder(studies) / "runs"
    if run is None:
        return new_run(runs, model, parameters, origin="command").path
    if not (run / REQUEST_FILE).exists():
        if run.is_dir() and any(run.iterdir()):
            raise ParameterError("The folder given with --run holds something else.", "Give a new or empty folder.")
        made = new_run(run.parent, model, parameters, origin="command", path=run)
        try:
            note_elsewhere(studies, made)
        except OutputError:
            made.remove()
            raise
        return made.path
    folder = RunFolder(run)
    _check_same(folder.request(), model, given)
    if is_of_others(folder, studies):
        raise ParameterError("The run in that folder is of other studies.", "Give the folder with its studies.")
    may_go_on(folder)
    if run.resolve().parent != runs.resolve():
        note_elsewhere(studies, folder)
    return run


def _check_same(known: RunRequest, model: str, given: dict[str, Any]) -> None:
    kept = known.parameters.model_dump()
    other = next((name for name, value in given.items() if kept[name] != value), None)
    if known.model != model or other is not None:
        what = f"{other} = {kept[other]}" if other is not None else f"the model {known.model}"
        raise ParameterError(
            f"The run in that folder was begun with {what}.", "Leave the options out, or leave --run out for a new run."
        )


@contextmanager
def _tidy(studies: Path, run: Path | None, processes: Together) -> Iterator[None]:
    """Before and after a run, remove what nobody needs any more of others, and of studies that are gone."""
    if not processes.first:
        yield
        return
    from covid_bert.datastore.forgetting import forget

    forget(studies, taken_up=run)
    try:
        yield
    finally:
        forget(studies)


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Let the first signal to end ask the training to stop, and the second one end the program."""
    stop = threading.Event()
    names = (signal.SIGINT, signal.SIGTERM)

    def heard(*_: object) -> None:
        stop.set()
        for name in names:
            signal.signal(name, before[name])

    before = {name: signal.getsignal(name) for name in names}
    for name in names:
        signal.signal(name, heard)
    try:
        yield stop
    finally:
        for name in names:
            signal.signal(name, before[name])


class _Speaker:
    """Says what people want to know: stages, epochs, what is left out, and the outcome."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = LiveRecord()

    def say(self, text: str) -> None:
        """Print a line; those on steps within an epoch are for programs."""
        if "Iter:" not in text:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def told(self, live: LiveRecord) -> None:
        """Print what is new in a state."""
        if live.stage != self._last.stage:
            self.say(f"{live.fraction:4.0%}  {live.stage}")
        for item in live.left_out[len(self._last.left_out) :]:
            self.say(f"      left out: {item.identifier}: {item.reason}")
        if len(live.curve) > len(self._last.curve) and live.seconds_left is not None:
            self.say(f"{live.fraction:4.0%}  at most {live.seconds_left / 60:.0f} min left")
        self._last = live

    def result(self, result: RunResult, live: LiveRecord) -> None:
        """Print what came of the run."""
        state = "live" if result.published else "a candidate"
        self.say(f"{result.name} {result.version} is {state}. {result.gate.reason}")
        for metric in result.metrics:
            limits = "" if metric.lower is None else f" ({metric.lower:.3f} to {metric.upper:.3f})"
            self.say(f"      {metric.measure}: {metric.value:.3f}{limits}, {metric.patients} patients, {metric.data}")
        for note in result.notes:
            self.say(f"      {note}")
        if live.left_out:
            self.say(f"      {len(live.left_out)} labels were left out")
        self.say(f"      compare: covid-bert weights compare {result.name} {result.gate.against} {result.version}")
