"""The trainings of a server: where they lie, what computes them, and what is written when one has ended."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path

from covid_bert.errors import CovidBertError
from covid_bert.retraining.derived import retraining_folder
from covid_bert.server.audit import AuditLog
from covid_bert.server.metrics import Metrics
from covid_bert.server.training.process import open_training
from covid_bert.server.training.runs import Run
from covid_bert.server.training.trainings import Trainings
from covid_bert.workers import MakeCompute

logger = logging.getLogger(__name__)


def open_trainings(
    studies: Path,
    audit: AuditLog,
    metrics: Metrics,
    make_compute: MakeCompute | None = None,
    *,
    on_end: Callable[[], None] = lambda: None,
) -> Trainings:
    """Return the trainings on a folder of studies; the caller starts and closes them.

    Parameters
    ----------
    studies
        Folder with the studies.
    audit
        Gets a line on the end of each training, and on a version that one has published.
    metrics
        The server's numbers.
    make_compute
        What computes a run; None for `open_training`.
    on_end
        Called when a training has ended.
    """
    trainings = Trainings(
        retraining_folder(studies) / "runs",
        make_compute or functools.partial(open_training, str(studies)),
        on_end=functools.partial(_ended, audit, metrics, on_end),
    )
    metrics.follow_trainings(trainings.count)
    return trainings


def _ended(audit: AuditLog, metrics: Metrics, on_end: Callable[[], None], run: Run) -> None:
    on_end()
    status, result = run.standing.status, run.standing.result
    facts = {"training": run.request.id, "model": run.request.model}
    outcome = status if result is None else "published" if result.published else "candidate"
    metrics.count_training(run.request.model, outcome)
    if result is not None:
        facts |= {"weights": result.name, "version": result.version}
    if run.standing.error is not None:
        facts["code"] = run.standing.error["code"]
    try:
        audit.append(
            "training-ended",
            outcome="failed" if status == "failed" else "done",
            token=run.request.owner,
            facts={**facts, "ended": outcome},
        )
        if result is not None and result.published:
            audit.append("weights-published", token=run.request.owner, facts=facts)
    except CovidBertError as error:
        logger.error("A line is missing in the audit log: %s", error)
