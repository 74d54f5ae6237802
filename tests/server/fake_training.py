"""A training that learns nothing and does what the folder of studies says; checkpoints as the real ones do."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covid_bert.errors import NotEnoughLabelsError, OutputError
from covid_bert.files import write_atomically
from covid_bert.progress import Progress
from covid_bert.retraining.cases import LabelSet, LeftOut
from covid_bert.retraining.derived import retraining_folder
from covid_bert.retraining.parameters import TrainingParameters
from covid_bert.retraining.records import CurvePoint, GateDecision
from covid_bert.retraining.run_records import RunRequest, RunResult
from covid_bert.server.training.process import open_training
from covid_bert.server.training.runs import Run
from covid_bert.server.training.trainings import Trainings

if TYPE_CHECKING:
    from covid_bert.retraining.progress import RunProgress

# Only a test that fails waits for so long.
PATIENCE_SECONDS = 240
STEPS = 4
# Of the epochs in a run of `EPOCHS`, the one in which a held training waits.
EPOCHS, HELD = 6, 3


def make_fake(studies: Path):
    """What the server calls in the process of a training."""
    return open_training(str(studies), read=read, fit=functools.partial(fit, studies))


def read(request: RunRequest, _studies: Path, _cache: Path, _progress: Progress) -> LabelSet:
    return LabelSet((), (LeftOut("broken", "The mask is on another grid."),), "split", request.parameters.readers)


@dataclass(frozen=True)
class Fit:
    """As `covid_bert.retraining.fitting.FitProgress`, which needs torch."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    validation: dict[str, float]
    seconds_left: float
    curve: tuple[CurvePoint, ...]

    @property
    def line(self) -> str:
        if self.curve and self.curve[-1].epoch == self.epoch:
            return f"Epoch[{self.epoch}] Metrics -- dice: {self.validation['dice']:.4f}"
        return f"Epoch: {self.epoch}/{self.epochs}, Iter: {self.step}/{self.steps} -- train_loss: {self.loss:.4f}"


def fit(studies: Path, request: RunRequest, labels: LabelSet, folder: Path, progress: RunProgress) -> RunResult:
    for left in labels.left_out:
        progress.leave_out(left.identifier, left.reason)
    epochs, checkpoint = request.parameters.epochs, folder / "fake.checkpoint"
    folder.mkdir(exist_ok=True)
    curve = (
        [CurvePoint.model_validate(point) for point in json.loads(checkpoint.read_text())]
        if (checkpoint.exists())
        else []
    )
    told = progress.fitting()
    for epoch in range(len(curve) + 1, epochs + 1):
        with (studies / "epochs").open("a") as journal:
            journal.write(f"{request.model} {epoch}\n")
        _act(studies, epoch, progress)
        for step in range(1, STEPS + 1):
            progress.check()
            time.sleep(0.01)
            told(Fit(epoch, epochs, step, STEPS, 1 / epoch, _last(curve), 60.0, tuple(curve)))
        validation = {"dice": chained(request, epoch)}
        curve.append(CurvePoint(epoch=epoch, loss=1 / epoch, learning_rate=0.1, seconds=0.1, validation=validation))
        write_atomically(checkpoint, json.dumps([point.model_dump() for point in curve]))
        told(Fit(epoch, epochs, STEPS, STEPS, 1 / epoch, validation, 30.0, tuple(curve)))
    gate = GateDecision(passed=True, reason="Not worse.", rule="None.", against="v001")
    version = hashlib.sha256(json.dumps([point.validation for point in curve]).encode()).hexdigest()
    return RunResult(name="fake", version=version, published=request.parameters.publish, gate=gate)


def chained(request: RunRequest, epoch: int) -> float:
    """What an epoch of a request always ends with."""
    text = f"{request.model} {request.parameters.seed} {epoch}"
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32


def _last(curve: list[CurvePoint]) -> dict[str, float]:
    return curve[-1].validation if curve else {}


def _act(studies: Path, epoch: int, progress: RunProgress) -> None:
    """Do what the folder of studies says, in the epoch `HELD`."""
    if epoch != HELD:
        return
    while (studies / "hold").exists():
        progress.check()
        time.sleep(0.01)
    while (studies / "deaf").exists():
        time.sleep(0.01)
    if (studies / "die").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    if (studies / "few").exists():
        raise NotEnoughLabelsError("There are 1 corrected masks to learn from.", "Correct at least 2.")
    if (studies / "full").exists():
        raise OutputError("The checkpoint cannot be written.", "Free disk space.")
    if (studies / "surprise").exists():
        raise ValueError("secret-patient")


def asked(studies: Path, *names: str) -> None:
    """Tell the fake what to do from now on."""
    for name in ("hold", "deaf", "die", "few", "full", "surprise"):
        path = studies / name
        path.touch() if name in names else path.unlink(missing_ok=True)


def computed(studies: Path) -> list[str]:
    """Model and number of the epochs that were begun."""
    journal = studies / "epochs"
    return journal.read_text().splitlines() if journal.exists() else []


def parameters(**values: Any) -> TrainingParameters:
    return TrainingParameters.of_request({"epochs": EPOCHS, **values})


@contextmanager
def training(studies: Path, **options: Any) -> Iterator[Trainings]:
    """The trainings of a server on some studies."""
    studies.mkdir(exist_ok=True)
    trainings = Trainings(retraining_folder(studies) / "runs", functools.partial(make_fake, studies), **options)
    trainings.start()
    try:
        yield trainings
    finally:
        trainings.close()


def await_that(true: Callable[[], Any]) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def await_epoch(run: Run) -> None:
    """Wait until a run has finished the epochs before the one that it may be held in."""
    await_that(lambda: run.ended or len(run.folder.live().curve) >= HELD - 1)
    assert not run.ended, run.standing


def await_end(run: Run) -> None:
    await_that(lambda: run.ended)
