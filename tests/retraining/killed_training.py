"""A program that does a real, small training twice: once as it is, once with `kill -9` at each of some places.

It loads what it needs before it forks, and so a start takes no time. The two have data folders of their own.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import small_settings
import torch

from covid_bert.datastore import label_set
from covid_bert.retraining import curve, fitting, lung_judging, lung_learner, lungs
from covid_bert.retraining.parameters import TrainingParameters
from covid_bert.retraining.run_folder import RunFolder, new_run
from covid_bert.tasks.training_run import run_here
from covid_bert.weights import installing, pointer

EPOCHS = 2
# Loaded late elsewhere, as they are needed; here once for all.
EARLY = (curve.curve_picture, label_set.read_label_set)


@dataclass(frozen=True)
class Place:
    """The moment before a call, or after it.

    Parameters
    ----------
    owner, name
        Of the function.
    call
        Which of its calls in one process, from 1.
    after
        Whether it has returned.
    chosen
        Which calls count, by their arguments.
    """

    owner: Any
    name: str
    call: int = 1
    after: bool = False
    chosen: Callable[..., bool] = lambda *_: True

    def arm(self) -> None:
        """Let this process be killed there."""
        true, count = getattr(self.owner, self.name), 0

        @functools.wraps(true)
        def watched(*arguments: Any, **keywords: Any) -> Any:
            nonlocal count
            count += self.chosen(*arguments)
            here = count == self.call and self.chosen(*arguments)
            if here and not self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = true(*arguments, **keywords)
            if here:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(self.owner, self.name, watched)


def _of_version(path: Path, *_: Any) -> bool:
    return path.name.startswith(installing.STAGING_PREFIX)


PLACES = {
    "material": Place(lungs, "keep_case", 2),
    "training": Place(lung_learner.LungLearner, "loss", 3),
    "checkpoint": Place(fitting, "write_checkpoint", 2, after=True),
    "judging": Place(lung_judging, "read_case", 2),
    "installing": Place(Path, "rename", chosen=_of_version),
    "publishing": Place(pointer, "write_atomically"),
    "published": Place(pointer, "write_atomically", after=True),
    "ended": Place(RunFolder, "write_state", chosen=lambda _, state: state.status == "done"),
}


def live_once(folder: RunFolder, studies: Path, place: str | None) -> int:
    """Do the run in a process of its own; return its status."""
    child = os.fork()
    if child == 0:
        if place is not None:
            PLACES[place].arm()
        run_here(folder, studies)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def do(studies: Path, home: Path, places: Iterable[str]) -> None:
    """Do a run in a data folder; begin it again after each kill."""
    os.environ["COVID_BERT_HOME"] = str(home)
    parameters = TrainingParameters(epochs=EPOCHS, device="cpu", precision="float32")
    folder = new_run(home, "lungs", parameters, origin="command", path=home / "run")
    for place in places:
        assert live_once(folder, studies, place) == signal.SIGKILL, place
    assert live_once(folder, studies, None) == 0


def main(studies: str, whole: str, killed: str) -> None:
    torch.set_num_threads(1)
    small_settings.make_small()
    phantoms = lungs._phantoms()
    lungs._phantoms = lambda: phantoms
    do(Path(studies), Path(whole), ())
    do(Path(studies), Path(killed), PLACES)


if __name__ == "__main__":
    main(*sys.argv[1:])
