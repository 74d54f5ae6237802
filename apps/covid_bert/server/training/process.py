"""What the process of a training computes, with as little as possible taken from those who wait for a result."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covid_bert.progress import Progress
from covid_bert.retraining.run_folder import RunFolder
from covid_bert.tasks.training_run import ReadLabels, Train, read_labels, run_training, train

if TYPE_CHECKING:
    from covid_bert.workers import Compute, Outcome

_NICENESS = 15
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def open_training(studies: str, read: ReadLabels = read_labels, fit: Train = train) -> Compute:
    """Return what does a run; called once in a process of its own.

    Parameters
    ----------
    studies
        Folder with the studies, as the server has it.
    read, fit
        What reads the labels, and what trains.
    """
    _step_back()

    def compute(_: dict[str, Any], progress: Progress, folder: Path) -> Outcome:
        result = run_training(RunFolder(folder), Path(studies), lambda: progress.cancelled, read=read, fit=fit)
        return {}, json.loads(result.model_dump_json())

    return compute


def _step_back() -> None:
    """Leave half of the processors, and the first turn at all of them, to inferences."""
    threads = max(1, (os.cpu_count() or 1) // 2)
    # Read by the libraries of numbers when they are loaded, which is later.
    os.environ.update(dict.fromkeys(_THREADS, str(threads)))
    if hasattr(os, "nice"):
        with contextlib.suppress(OSError):
            os.nice(_NICENESS)
