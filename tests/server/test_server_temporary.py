"""The server's temporary folder: private, and cleared of what a killed server left."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from covid_bert.errors import OutputError
from covid_bert.server.temporary import own_temporary_folder

MAKE = "from covid_bert.server.temporary import own_temporary_folder as f; p = f(); (p / 'patient').write_text('x'); "

WAIT = "print(p, flush=True); import time; time.sleep(600)"


def run(home: Path, code: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "COVID_BERT_HOME": str(home)}
    return subprocess.Popen([sys.executable, "-c", MAKE + code], env=environment, stdout=subprocess.PIPE, text=True)


def folders(home: Path) -> set[Path]:
    return set((home / "temporary").glob("server-*"))


def folder_of(process: subprocess.Popen[str]) -> Path:
    """The folder of a server that waits."""
    return Path(process.stdout.readline().strip())


def await_absence(path: Path) -> None:
    deadline = time.monotonic() + 120
    while path.exists():
        assert time.monotonic() < deadline, "what a killed server left is still there"
        time.sleep(0.1)


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=60)


def test_it_is_private_and_gone_after_an_orderly_end(tmp_path: Path) -> None:
    process = run(tmp_path, "print(oct(p.stat().st_mode & 0o777), flush=True)")
    assert process.communicate(timeout=120)[0].strip() == "0o700"
    assert folders(tmp_path) == set()


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_kill_leaves_nothing_even_if_no_server_is_started_again(tmp_path: Path) -> None:
    killed = run(tmp_path, WAIT)
    left = folder_of(killed)
    assert (left / "patient").exists()
    end(killed)
    await_absence(left)


def test_the_next_start_removes_what_a_power_failure_left_whoever_has_its_number_now(tmp_path: Path) -> None:
    left = tmp_path / "temporary" / f"server-{os.getpid()}"
    for folder in (left, left.with_name("server-x")):
        folder.mkdir(parents=True)
        (folder / "patient").write_text("x")
        # A server that was killed leaves its lock free.
        (folder / "lock").touch()
    run(tmp_path, "").communicate(timeout=120)
    assert folders(tmp_path) == set()


def test_the_next_start_removes_nothing_of_a_running_server(tmp_path: Path) -> None:
    running = run(tmp_path, WAIT)
    try:
        own = folder_of(running)
        run(tmp_path, "").communicate(timeout=120)
        assert folders(tmp_path) == {own}
        assert (own / "patient").exists()
    finally:
        end(running)


def test_servers_that_start_at_one_moment_keep_their_folders(tmp_path: Path) -> None:
    started = [run(tmp_path, WAIT) for _ in range(4)]
    try:
        own = {folder_of(process) for process in started}
        assert len(own) == 4
        assert folders(tmp_path) == own
        assert all((folder / "patient").exists() for folder in own)
    finally:
        for process in started:
            end(process)


def test_a_folder_that_cannot_be_made_is_a_typed_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COVID_BERT_HOME", str(tmp_path))
    (tmp_path / "temporary").write_text("no folder")
    with pytest.raises(OutputError, match="COVID_BERT_HOME"):
        own_temporary_folder()
