"""How a run stands whose state is damaged or whose process was killed; it is never begun again by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock

from covid_bert.lungs import unet
from covid_bert.retraining.parameters import TrainingParameters
from covid_bert.retraining.records import RECORD_FILE
from covid_bert.retraining.run_folder import LOCK_FILE, STATE_FILE, RunFolder, forget_old_runs, new_run
from covid_bert.retraining.run_records import Standing
from covid_bert.weights.installing import add_version
from covid_bert.weights.manifest import Provenance
from covid_bert.weights.registry import Role
from covid_bert.weights.store import publish
from covid_bert.weights.untrained import untrained
from covid_bert.weights.version_folder import InstalledWeights
from made_versions import record

DAMAGES = {"none": None, "empty": b"", "half": b'{"status": "do', "other": b'{"status": "asleep"}', "list": b"[]"}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = new_run(tmp_path / "runs", "lungs", TrainingParameters(), origin="server")
    folder.write_state(Standing(status="running", started=1.0))
    return folder


def damage(run: RunFolder, content: bytes | None) -> None:
    path = run.path / STATE_FILE
    path.unlink() if content is None else path.write_bytes(content)


def version_of(run: str) -> InstalledWeights:
    state = untrained(unet.ARCHITECTURE, 0)[0].state_dict()
    files = {RECORD_FILE: record(True).model_copy(update={"run": run}).model_dump_json()}
    return add_version(unet.WEIGHTS_NAME, state, Provenance(architecture=unet.ARCHITECTURE, role=Role.LUNGS), files)


@pytest.mark.parametrize("content", DAMAGES.values(), ids=DAMAGES)
def test_without_a_version_it_has_failed_with_a_sentence(run: RunFolder, content: bytes | None) -> None:
    version_of("another run")
    damage(run, content)
    standing = run.state()
    assert standing.status == "failed"
    assert standing.error["code"] == "unreadable-file"
    assert "has made no version" in standing.error["message"]
    assert "--run" in standing.error["hint"]
    # Like any state it can be kept.
    run.write_state(standing)
    assert run.state() == standing


@pytest.mark.parametrize("published", [False, True])
def test_with_its_version_it_is_done(run: RunFolder, published: bool) -> None:
    made = version_of(run.request().id)
    if published:
        publish(made.name, made.version)
    damage(run, DAMAGES["half"])
    standing = run.state()
    assert standing.status == "done"
    assert (standing.result.name, standing.result.version) == (made.name, made.version)
    assert standing.result.published is published
    assert standing.result.metrics == record(True).metrics
    assert "could not be read" in standing.result.notes[0]


@pytest.mark.parametrize(("origin", "taken_up"), [("command", False), ("server", True), ("server", False)])
def test_a_run_that_was_killed_is_forgotten_unless_a_server_goes_on_with_it(
    tmp_path: Path, origin: str, taken_up: bool
) -> None:
    runs = tmp_path / "runs"
    killed = new_run(runs, "lungs", TrainingParameters(), origin=origin)
    killed.write_state(Standing(status="running", taken_up=taken_up))
    newer = new_run(runs, "lungs", TrainingParameters(), origin=origin)
    newer.write_state(Standing(status="done"))
    with FileLock(tmp_path / LOCK_FILE):
        forget_old_runs(runs, keep=1)
        assert killed.path.exists(), "it may be the one that a process works on"
    forget_old_runs(runs, keep=1)
    assert killed.path.exists() is (origin == "server" and not taken_up)
    assert newer.path.exists()
