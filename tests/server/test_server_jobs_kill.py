"""A server that is killed while jobs wait and run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from fake_jobs import ANNA, running, wait_for

_SERVER = """
import sys, time
from pathlib import Path
from fake_jobs import running, submit, wait_for, wait_for_stage

if __name__ == "__main__":
    with running(Path(sys.argv[1])) as runner:
        done = submit(runner, "done")
        wait_for(runner, done, "done")
        hanging = submit(runner, "hanging", "hang")
        waiting = submit(runner, "waiting")
        wait_for_stage(runner, hanging)
        print(done, hanging, waiting, runner.worker_pid, flush=True)
        time.sleep(600)
"""


def test_a_killed_server_loses_only_what_it_computed(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(_SERVER)
    folder = tmp_path / "data"
    folder.mkdir()
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    done, hanging, waiting, worker = process.stdout.readline().split()
    process.kill()
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 120
    while _runs(int(worker)):
        assert time.monotonic() < deadline, "the worker outlived its server"
        time.sleep(0.05)
    with running(folder) as runner:
        assert runner.job(done, ANNA).state == "done"
        assert runner.result(done, ANNA).file.exists()
        assert runner.job(hanging, ANNA).error.code == "interrupted"
        wait_for(runner, waiting, "done")
        assert runner.requests.computed() == ["done", "hanging", "waiting"]


def _runs(pid: int) -> bool:
    """Whether the process is there and not only waiting to be reaped."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
