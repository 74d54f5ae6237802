"""Real trainings that are killed at every stage end as those that nobody kills, with one version each."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from folder_site import PARTS, corrected_site

from covid_bert.files import is_temporary
from covid_bert.lungs import unet
from covid_bert.retraining.records import TrainingRecord
from covid_bert.retraining.run_folder import RunFolder
from covid_bert.retraining.versions import training_record
from covid_bert.weights.history import history
from covid_bert.weights.location import weights_root
from covid_bert.weights.store import list_versions, live, newest_shipped

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no kill -9"),
]
HERE = Path(__file__).parent
NAME = unet.WEIGHTS_NAME


@dataclass(frozen=True)
class Outcome:
    weights: str
    losses: list[float]
    record: TrainingRecord


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    path = tmp_path / "studies"
    corrected_site(path, PARTS)
    return path


def outcome(home: Path, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """What a run left in a data folder, after checking that it is whole."""
    monkeypatch.setenv("COVID_BERT_HOME", str(home))
    folder = RunFolder(home / "run")
    standing = folder.state()
    assert standing.status == "done"
    assert standing.result is not None
    assert standing.result.published, standing.result.gate.reason
    assert not folder.work.exists(), "images of patients"
    shipped = newest_shipped(NAME)
    assert shipped is not None
    (version,) = [item for item in list_versions(NAME) if item != shipped.version]
    weights = live(NAME)
    assert weights is not None
    assert weights.verified().version == version == standing.result.version
    assert {line.version for line in history(NAME)} == {version}
    assert not [path for path in (weights_root() / NAME).iterdir() if is_temporary(path)]
    record = training_record(weights)
    assert record is not None
    return Outcome(weights.sha256, [point.loss for point in record.curve], record)


def test_killed_at_every_stage_it_ends_with_the_same_one_version(
    studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes = [tmp_path / "whole", tmp_path / "killed"]
    words = [sys.executable, str(HERE / "killed_training.py"), str(studies), *map(str, homes)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]), "OMP_NUM_THREADS": "1"}
    program = subprocess.run(words, timeout=1800, capture_output=True, text=True, env=environment)
    assert program.returncode == 0, program.stderr[-4000:]
    whole, killed = (outcome(home, monkeypatch) for home in homes)
    assert killed.weights == whole.weights
    assert killed.losses == whole.losses
    assert killed.record.metrics == whole.record.metrics
    assert killed.record.gate == whole.record.gate
