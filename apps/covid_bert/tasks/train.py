"""MONAI Label's train tasks: one for each model that learns from the labels.

Stock ``monailabel start_server`` calls them, in a process for each training. Our own server lists them and runs the
same trainings through `covid_bert.server.training`, which survives restarts.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

from fastapi import HTTPException
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask

from covid_bert.datastore.forgetting import forget
from covid_bert.errors import CovidBertError, WeightsError
from covid_bert.retraining.derived import retraining_folder
from covid_bert.retraining.models import MODELS
from covid_bert.retraining.parameters import TRAINERS, TrainingParameters
from covid_bert.retraining.run_folder import list_runs, new_run
from covid_bert.retraining.run_records import LiveRecord, RunRequest, Standing
from covid_bert.tasks.parameters import FOREIGN_KEYS
from covid_bert.tasks.stamps import stamp
from covid_bert.tasks.training_run import ReadLabels, Train, read_labels, run_here, train
from covid_bert.weights.store import live

logger = logging.getLogger(__name__)

DESCRIPTIONS = MappingProxyType(
    {
        "lungs": "Lung segmentation, from corrected masks, beginning at the live version",
        "covid_s1": "S1 (clip network with BERT over the study), from study labels",
        "covid_s2": "S2 (clip network, embeddings and MLP), from study labels",
        "covid_baseline": "Baseline (slice network), from study labels",
    }
)
# What MONAI Label's server adds to a request for its own trainers.
_SERVER_KEYS = FOREIGN_KEYS | {"local_rank", "bundle_path"}


class LabelTraining(TrainTask):
    """Trains one model on the labels of a folder of studies.

    Parameters
    ----------
    model
        One of `covid_bert.retraining.parameters.TRAINERS`.
    studies
        Folder with the studies.
    read, fit
        What reads the labels, and what trains.
    """

    def __init__(self, model: str, studies: Path, *, read: ReadLabels = read_labels, fit: Train = train) -> None:
        super().__init__(DESCRIPTIONS[model])
        self._model, self._studies, self._read, self._fit = model, studies, read, fit

    def config(self) -> dict[str, Any]:
        """The parameters with their defaults; a list has all choices, the default first."""
        return {
            name: _offered(field.annotation, field.default)
            for name, field in TrainingParameters.model_fields.items()
            if name != "scope" or self._model != "lungs"
        }

    def stats(self) -> dict[str, Any]:
        """How the newest training of the model went or goes, and which version is live."""
        runs = retraining_folder(self._studies) / "runs"
        newest = next((run for run in reversed(list_runs(runs)) if run[1].model == self._model), None)
        version = _intact_live_version(self._model)
        stats: dict[str, Any] = {} if version is None else {"version": version}
        if newest is not None:
            folder, request = newest
            # MONAI Label's own server kills what it stops.
            by_server = request.origin == "server" and not folder.state().taken_up
            standing = folder.state() if by_server else folder.state_outside(retraining_folder(self._studies))
            stats |= _stats(request, standing, folder.live())
        return stats

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:  # noqa: ARG002
        """Train, and return the version that was made, as `covid_bert.retraining.run_records.RunResult` in JSON."""
        try:
            given = {name: value for name, value in request.items() if name not in _SERVER_KEYS}
            parameters = TrainingParameters.of_request({name: value for name, value in given.items() if value != ""})
            runs = retraining_folder(self._studies) / "runs"
            forget(self._studies)
            folder = new_run(runs, self._model, parameters, origin="monailabel")
            result = run_here(folder, self._studies, read=self._read, fit=self._fit, said=logger.info)
            return json.loads(result.model_dump_json())
        except CovidBertError as error:
            raise HTTPException(error.http_status, detail=error.to_json()) from error


def trainers(studies: str) -> dict[str, TrainTask]:
    """The train tasks by model; none where the studies are not in a folder."""
    if studies.startswith(("http://", "https://")):
        return {}
    return {model: LabelTraining(model, Path(studies)) for model in TRAINERS}


def newest_first(stats: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Sort what trainers tell: MONAI Label's module for 3D Slicer shows the progress of the first one."""
    return dict(sorted(stats.items(), key=lambda item: item[1].get("start_ts", ""), reverse=True))


def _intact_live_version(model: str) -> str | None:
    """Version of a model that is live; None where none is, or it is damaged."""
    try:
        weights = live(MODELS[model].head)
    except WeightsError:
        return None
    return None if weights is None else weights.version


def _offered(annotation: Any, default: Any) -> Any:
    choices = get_args(annotation)
    return [default, *(choice for choice in choices if choice != default)] if choices else default


def _stats(request: RunRequest, standing: Standing, now: LiveRecord) -> dict[str, Any]:
    """What MONAI Label's clients read (epoch, total_epochs, best_metric, total_time), and the rest of ours."""
    best = [next(iter(point.validation.values())) for point in now.curve if point.validation]
    stats: dict[str, Any] = {
        "status": standing.status,
        "start_ts": stamp(request.created),
        "stage": now.stage,
        "fraction": now.fraction,
        "epoch": now.epoch or 0,
        "total_epochs": now.epochs or request.parameters.epochs,
        "best_metric": max(best, default=0.0),
        "validation": now.validation,
        "seconds_left": now.seconds_left,
    }
    if standing.started is not None and standing.ended is not None:
        stats["total_time"] = round(standing.ended - standing.started, 1)
    if standing.result is not None:
        result = standing.result
        stats["result"] = {"version": result.version, "published": result.published, "reason": result.gate.reason}
    if standing.error is not None:
        stats["error"] = {name: standing.error[name] for name in ("code", "message", "hint")}
    return stats
