"""Whole models trained by two processes: one version each, near to that of one process, and ready for use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from folder_site import corrected_site
from labelled_site import install_live

from covid_bert.retraining.cases import Part
from covid_bert.retraining.models import model_named
from covid_bert.retraining.records import TrainingRecord
from covid_bert.retraining.run_folder import RunFolder
from covid_bert.retraining.versions import training_record
from covid_bert.weights.store import installed, list_versions

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
# Without the two dashes torchrun takes `--run` for one of its own options.
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--")
PARTS = {Part.TRAINING: 6, Part.VALIDATION: 2}


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    path = tmp_path / "studies"
    corrected_site(path, PARTS, classes=True)
    return path


def train(model: str, studies: Path, run: Path, processes: tuple[str, ...] = ()) -> tuple[str, TrainingRecord]:
    """Train on the command line; return the one version that was made, and its record."""
    head = model_named(model).head
    before = set(list_versions(head))
    words = ["train", model, "--studies", str(studies), "--run", str(run), "--candidate", "--epochs", "1"]
    program = [sys.executable, *processes, str(HERE / "small_settings.py"), *words, "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]), "OMP_NUM_THREADS": "1"}
    for attempt in range(3):
        done = subprocess.run(program, timeout=1800, capture_output=True, text=True, env=environment)
        # Processes may fail to find each other on a crowded machine; the run goes on where it was.
        if done.returncode == 0 or attempt == 2:
            break
    assert done.returncode == 0, done.stderr[-4000:]
    (version,) = set(list_versions(head)) - before
    result = RunFolder(run).state().result
    assert result is not None
    assert result.version == version
    record = training_record(installed(head, version).verified())
    assert record is not None
    return version, record


@pytest.mark.parametrize("model", ["lungs", "covid_s1"])
def test_two_processes_make_one_version(model: str, studies: Path, tmp_path: Path) -> None:
    if model != "lungs":
        install_live(model.removeprefix("covid_"))
    _, one = train(model, studies, tmp_path / "one")
    _, two = train(model, studies, tmp_path / "two", TORCHRUN)
    assert (one.configuration["processes"], two.configuration["processes"]) == (1, 2)
    assert one.data == two.data
    assert one.started_from == two.started_from
    assert [point.epoch for point in one.curve] == [point.epoch for point in two.curve]
    numbers = [{(item.measure, item.data): item.value for item in record.metrics} for record in (one, two)]
    assert numbers[0].keys() == numbers[1].keys()
    for key, value in numbers[0].items():
        # Twice as many samples behind each step, and others: near, not equal.
        assert value == pytest.approx(numbers[1][key], abs=0.1), key
