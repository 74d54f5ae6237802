"""The server's temporary folder: private, and cleared of what a killed server left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

MAKE = "from covid_bert.server.temporary import own_temporary_folder as f; p = f(); (p / 'patient').write_text('x'); "

WAIT = "print('ready', flush=True); import time; time.sleep(60)"


def run(home: Path, code: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "COVID_BERT_HOME": str(home)}
    return subprocess.Popen([sys.executable, "-c", MAKE + code], env=environment, stdout=subprocess.PIPE, text=True)


def test_it_is_private_and_gone_after_an_orderly_end(tmp_path: Path) -> None:
    process = run(tmp_path, "print(oct(p.stat().st_mode & 0o777), flush=True)")
    assert process.communicate(timeout=60)[0].strip() == "0o700"
    assert list((tmp_path / "temporary").iterdir()) == []


def await_absence(path: Path) -> None:
    deadline = time.monotonic() + 60
    while path.exists():
        assert time.monotonic() < deadline, "what a killed server left is still there"
        time.sleep(0.1)


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_kill_leaves_nothing_even_if_no_server_is_started_again(tmp_path: Path) -> None:
    killed = run(tmp_path, WAIT)
    assert killed.stdout.readline().strip() == "ready"
    left = tmp_path / "temporary" / f"server-{killed.pid}"
    assert (left / "patient").exists()
    killed.send_signal(signal.SIGKILL)
    killed.wait(20)
    await_absence(left)


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_the_next_start_removes_what_a_power_failure_left_and_nothing_of_a_running_server(tmp_path: Path) -> None:
    killed, running = run(tmp_path, WAIT), run(tmp_path, WAIT)
    for process in (killed, running):
        assert process.stdout.readline().strip() == "ready"
    killed.send_signal(signal.SIGKILL)
    killed.wait(20)
    left = tmp_path / "temporary" / f"server-{killed.pid}"
    await_absence(left)
    left.mkdir()
    (left / "patient").write_text("x")
    run(tmp_path, "").communicate(timeout=60)
    assert not left.exists()
    assert (tmp_path / "temporary" / f"server-{running.pid}" / "patient").exists()
    running.terminate()
    running.wait(20)
