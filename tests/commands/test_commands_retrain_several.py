"""`covid-bert train` in several processes, as `torchrun` starts them: one run, one speaker."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from covid_bert.retraining.derived import retraining_folder
from covid_bert.retraining.run_folder import list_runs

_PROCESS = """
import os, sys
from pathlib import Path
from rich.console import Console
from covid_bert.commands.retrain import retrain
from covid_bert.retraining.cases import LabelSet
from covid_bert.retraining.records import GateDecision
from covid_bert.retraining.run_records import RunResult

def read(request, studies, cache, progress):
    with (studies / "read").open("a") as file:
        file.write(os.environ["RANK"])
    return LabelSet((), (), "split", "newest")

def fit(request, labels, folder, progress):
    from covid_bert.retraining import distributed
    (Path(sys.argv[1]) / f"rank-{distributed.rank()}-of-{distributed.world()}").write_text(str(folder))
    gate = GateDecision(passed=True, reason="Not worse.", rule="None.", against="v001")
    return RunResult(name="default-lungs", version="v002", published=True, gate=gate)

retrain("lungs", Path(sys.argv[1]), None, {"device": "cpu"}, Console(), read=read, fit=fit)
"""


def test_two_processes_do_one_run(tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    studies.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    together = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **together}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _PROCESS, str(studies)],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    printed = [process.communicate(timeout=600)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert "default-lungs v002 is live" in printed[0]
    assert printed[1] == ""
    folders = {path.read_text() for path in studies.glob("rank-*-of-2")}
    ((folder, _),) = list_runs(retraining_folder(studies) / "runs")
    assert folders == {str(folder.work)}
    assert len(list(studies.glob("rank-*-of-2"))) == 2
    assert (studies / "read").read_text() == "0", "the first one reads the labels for all"
    assert folder.state().status == "done"
