"""MONAI Label's train tasks: what clients are offered and told, and the training itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock

from covid_bert.errors import NotEnoughLabelsError
from covid_bert.retraining.cases import LabelSet, LeftOut
from covid_bert.retraining.derived import label_cache, marked, retraining_folder
from covid_bert.retraining.parameters import TRAINERS, TrainingParameters
from covid_bert.retraining.records import CurvePoint, GateDecision, Measured
from covid_bert.retraining.run_folder import LOCK_FILE, list_runs, new_run
from covid_bert.retraining.run_records import LiveRecord, RunResult
from needed import require_module

require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")

from fastapi import HTTPException  # noqa: E402

from covid_bert.main import CovidBertApp  # noqa: E402
from covid_bert.tasks.train import DESCRIPTIONS, LabelTraining, newest_first, trainers  # noqa: E402

GATE = GateDecision(passed=False, reason="Worse on the phantoms.", rule="None.", against="v001")


def read(request, _studies, cache, progress) -> LabelSet:
    progress.update("labels", 1.0)
    return LabelSet((), (LeftOut("broken", "No mask."),), "split", request.parameters.readers)


def fit(_request, _labels, folder, progress) -> RunResult:
    assert folder.is_dir()
    progress.note("A sentence.")
    measured = Measured(measure="mean Dice", value=0.9, lower=None, upper=None, patients=2, data="validation")
    return RunResult(name="default-lungs", version="v009", published=False, gate=GATE, metrics=(measured,))


def test_offered_parameters() -> None:
    offered = trainers("studies")
    assert set(offered) == set(TRAINERS) == set(DESCRIPTIONS)
    assert trainers("https://pacs.example.org/dicomweb") == {}
    config = offered["covid_s1"].config()
    assert set(config) == set(TrainingParameters.model_fields)
    assert config["scope"] == ["auto", "whole", "aggregator"]
    assert config["publish"] is True
    assert "scope" not in offered["lungs"].config()
    # A client that sends what it was offered, the first of each list, asks for the defaults.
    sent = {name: value[0] if isinstance(value, list) else value for name, value in config.items()}
    assert TrainingParameters.of_request(sent) == TrainingParameters()


def test_a_training_of_the_stock_server(tmp_path: Path) -> None:
    task = LabelTraining("lungs", tmp_path, read=read, fit=fit)
    assert set(task.stats()) == {"version"}
    reply = task({"model": "lungs", "epochs": "3", "client_id": "x", "local_rank": 0, "gpus": "all"}, None)
    assert (reply["version"], reply["metrics"][0]["value"]) == ("v009", 0.9)
    stats = task.stats()
    assert (stats["status"], stats["total_epochs"]) == ("done", 3)
    assert stats["result"] == {"version": "v009", "published": False, "reason": "Worse on the phantoms."}
    assert stats["total_time"] >= 0
    ((folder, request),) = list_runs(retraining_folder(tmp_path) / "runs")
    assert request.origin == "monailabel"
    assert folder.lines(5) == ["A sentence."]
    assert not folder.work.exists()


@pytest.mark.parametrize("start", ["server", "training"])
def test_what_was_derived_from_a_study_that_is_gone_goes_at_a_start(tmp_path: Path, start: str) -> None:
    studies = tmp_path / "studies"
    studies.mkdir()
    (studies / "other.nii.gz").touch()
    mask = label_cache(studies) / "consensus" / marked(studies / "gone.nii.gz", "mask.nii.gz")
    mask.parent.mkdir(parents=True)
    mask.touch()
    if start == "server":
        CovidBertApp(app_dir=str(tmp_path), studies=str(studies), conf={})
    else:
        LabelTraining("lungs", studies, read=read, fit=fit)({"model": "lungs"}, None)
    assert not mask.exists()


def test_errors_have_a_status_and_stay_to_be_seen(tmp_path: Path) -> None:
    def too_few(*_: object) -> RunResult:
        raise NotEnoughLabelsError("There is 1 corrected mask.", "Correct at least 2.")

    task = LabelTraining("lungs", tmp_path, read=read, fit=too_few)
    with pytest.raises(HTTPException) as refused:
        task({"model": "lungs"}, None)
    assert refused.value.status_code == 409
    assert task.stats()["error"]["message"] == "There is 1 corrected mask."
    with pytest.raises(HTTPException) as unknown:
        task({"model": "lungs", "no_such_key": 1}, None)
    assert unknown.value.status_code == 422


def test_numbers_that_clients_show(tmp_path: Path) -> None:
    runs = retraining_folder(tmp_path) / "runs"
    folder = new_run(runs, "covid_s1", TrainingParameters(epochs=7), origin="server")
    curve = tuple(
        CurvePoint(epoch=epoch, loss=1.0, learning_rate=0.1, seconds=1.0, validation={"auc": auc})
        for epoch, auc in ((1, 0.6), (2, 0.8), (3, 0.7))
    )
    folder.write_live(LiveRecord(stage="training", fraction=0.4, epoch=4, epochs=7, curve=curve, seconds_left=9.0))
    folder.write_state(folder.state().changed(status="running"))
    offered = trainers(str(tmp_path))
    stats = newest_first({name: task.stats() for name, task in offered.items()})
    assert next(iter(stats)) == "covid_s1"
    told = stats["covid_s1"]
    assert (told["epoch"], told["total_epochs"], told["best_metric"], told["seconds_left"]) == (4, 7, 0.8, 9.0)
    assert "total_time" not in told, "the module of 3D Slicer would show no progress"


def test_what_was_killed_does_not_run_for_ever(tmp_path: Path) -> None:
    own = retraining_folder(tmp_path)
    folder = new_run(own / "runs", "lungs", TrainingParameters(), origin="monailabel")
    folder.write_state(folder.state().changed(status="running"))
    task = trainers(str(tmp_path))["lungs"]
    with FileLock(own / LOCK_FILE):
        assert task.stats()["status"] == "running"
    assert task.stats()["status"] == "stopped"
