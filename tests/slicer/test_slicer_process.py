"""Orders through Qt's processes: callbacks in the GUI thread, cancel, workers that die or talk nonsense, the end."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worker_process import job_server, raw_volume, scripted_server

process, task = (importlib.import_module(f"CovidBertLib.{name}") for name in ("process", "task"))


class Heard:
    """What a task called back, in order; each call must come in the GUI thread."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        def note(*arguments: Any) -> None:
            assert threading.current_thread() is threading.main_thread()
            self.calls.append((name, arguments[0] if arguments else None))

        return note

    def names(self) -> list[str]:
        return [name for name, _ in self.calls if name != "progress"]

    def has_ended(self) -> bool:
        return bool(self.calls) and self.calls[-1][0] == "ended"

    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {name: getattr(self, name) for name in ("done", "failed", "cancelled", "progress", "ended")}

    def failure(self) -> process.Failure:
        (failure,) = (given for name, given in self.calls if name == "failed")
        return failure


@pytest.fixture
def jobs() -> Iterator[job_server.JobServer]:
    with job_server.running() as running:
        yield running


@pytest.fixture
def lines() -> list[process.Failure]:
    return []


@pytest.fixture
def tasks(application: Any, lines: list[process.Failure]) -> Iterator[process.Tasks]:
    running = process.Tasks(sys.executable, lines.append)
    yield running
    running.close()


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put other code in the place of the worker."""

    def put(code: str) -> None:
        path = tmp_path / "pretended.py"
        path.write_text(f"import sys, os, time\nline = sys.stdin.readline()\n{code}\n")
        monkeypatch.setattr(task, "WORKER", path)

    return put


def test_process_behind_a_launcher_is_gone_when_the_end_is_told(
    tmp_path: Path, application: Any, pretend: Callable[[str], None], wait_until: Any
) -> None:
    launcher, note = tmp_path / "launcher", tmp_path / "pid"
    launcher.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n')
    launcher.chmod(0o700)
    # As the worker: it works on without looking, and another thread ends it with the input.
    pretend(
        f"open({str(note)!r}, 'w').write(str(os.getpid()))\n"
        "import threading\n"
        "threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()\n"
        "time.sleep(600)"
    )
    tasks, heard = process.Tasks(str(launcher), lambda _failure: None), Heard()
    started = tasks.start({"kind": "compare"}, **heard.callbacks())
    wait_until(lambda: note.exists() and note.read_text())
    started.cancel(at_once=True)
    assert heard.names() == ["cancelled"], "it counts as cancelled at once"
    wait_until(heard.has_ended)
    assert not Path(f"/proc/{note.read_text()}").exists() or sys.platform != "linux"
    tasks.close()


def order_for(url: str, folder: Path) -> dict[str, Any]:
    folder.mkdir(mode=0o700, exist_ok=True)
    server = {"url": url, "token": scripted_server.TOKEN, "read_timeout": 20}
    volume = raw_volume(folder / "volume.raw", np.zeros((8, 16, 16)))
    return {
        **{"kind": "classify", "server": server, "folder": str(folder), "volume": volume},
        **{"model": "lungs", "params": {}, "wants": ["lungs"]},
    }


def test_order_is_carried_out(tasks, jobs, tmp_path, wait_until) -> None:
    heard = Heard()
    started = tasks.start(order_for(jobs.url, tmp_path / "a"), **heard.callbacks())
    assert (started.running, heard.calls) == (True, []), "nothing happens before the event loop runs"
    wait_until(heard.has_ended, 120)
    assert heard.names() == ["done", "ended"]
    result = dict(heard.calls)["done"]
    assert Path(result["files"]["lungs"]).read_bytes() == job_server.IMAGE
    stages = [given.stage for name, given in heard.calls if name == "progress"]
    assert list(dict.fromkeys(stages))[:4] == ["reading", "compressing", "uploading", "waiting"]
    assert not started.running


def test_two_at_once_do_not_disturb_each_other(tasks, jobs, tmp_path, wait_until) -> None:
    heard, other = Heard(), Heard()
    tasks.start(order_for(jobs.url, tmp_path / "a"), **heard.callbacks())
    tasks.start({**order_for(jobs.url, tmp_path / "b"), "kind": "no such kind"}, **other.callbacks())
    wait_until(lambda: heard.has_ended() and other.has_ended(), 120)
    assert heard.names() == ["done", "ended"]
    assert other.names() == ["failed", "ended"]
    assert other.failure().code == "bad-order"


def test_failure_says_what_to_do(tasks, jobs, tmp_path, wait_until) -> None:
    jobs.fault = {"code": "not-ct", "message": "This is no CT.", "hint": "Choose a CT."}
    heard = Heard()
    started = tasks.start(order_for(jobs.url, tmp_path / "a"), **heard.callbacks())
    wait_until(heard.has_ended, 120)
    failure = heard.failure()
    assert (failure.code, failure.message, failure.hint) == ("not-ct", "This is no CT.", "Choose a CT.")
    assert failure.kept == started.kept
    assert failure.kept["session_id"] in jobs.sessions


def test_cancel_reaches_the_server(tasks, jobs, tmp_path, wait_until) -> None:
    jobs.holds = True
    heard = Heard()
    started = tasks.start(order_for(jobs.url, tmp_path / "a"), **heard.callbacks())
    wait_until(lambda: jobs.jobs, 120)
    started.cancel()
    started.cancel()
    wait_until(heard.has_ended, 120)
    assert heard.names() == ["cancelled", "ended"]
    assert [job["state"] for job in jobs.jobs.values()] == ["cancelled"]
    assert set(started.kept) == {"session_id", "sha256"}


def test_cancel_before_anything_was_started(tasks, jobs, tmp_path, wait_until) -> None:
    heard = Heard()
    started = tasks.start(order_for(jobs.url, tmp_path / "a"), **heard.callbacks())
    tasks.cancel_all()
    assert not started.running
    wait_until(heard.has_ended, 120)
    assert heard.names() == ["cancelled", "ended"]
    assert jobs.sessions == {}


def test_close_ends_jobs_and_calls_nobody_back(tasks, jobs, tmp_path, wait_until) -> None:
    jobs.holds = True
    heard = Heard()
    started = tasks.start(order_for(jobs.url, tmp_path / "a"), **heard.callbacks())
    tasks.start(order_for(jobs.url, tmp_path / "b"), **heard.callbacks())
    wait_until(lambda: len(jobs.jobs) == 2, 120)
    before = len(heard.names())
    tasks.close()
    assert not started.running
    wait_until(lambda: {job["state"] for job in jobs.jobs.values()} == {"cancelled"}, 120)
    assert len(heard.names()) == before == 0


@pytest.mark.parametrize(
    ("code", "expected", "words"),
    [
        ("print('hello')", "invalid-answer", ""),
        ('print(\'{"event": "other"}\')', "invalid-answer", ""),
        ('print(\'{"event": "failed"}\')', "invalid-answer", ""),
        ("os.write(1, bytes([255, 10]))", "invalid-answer", ""),
        ("print('[' * 99999)", "invalid-answer", ""),
        ("sys.exit('it could not')", "worker-ended", "it could not"),
        ("os.kill(os.getpid(), 9)", "worker-ended", "-"),
        ('os.write(1, b\'{"event": "do\')', "worker-ended", "-"),
    ],
)
def test_worker_that_is_none(tasks, pretend, wait_until, code: str, expected: str, words: str) -> None:
    pretend(code)
    heard = Heard()
    tasks.start({"kind": "check"}, **heard.callbacks())
    wait_until(heard.has_ended, 120)
    assert heard.names() == ["failed", "ended"]
    assert heard.failure().code == expected
    assert heard.failure().hint.endswith(words)


def test_worker_that_says_more_than_one_end(tasks, pretend, wait_until) -> None:
    pretend("""print('{"event": "done", "result": {"a": 1}}\\n{"event": "cancelled"}\\nnonsense', flush=True)""")
    heard = Heard()
    tasks.start({"kind": "check"}, **heard.callbacks())
    wait_until(heard.has_ended, 120)
    assert heard.calls == [("done", {"a": 1}), ("ended", None)]


def test_worker_that_does_not_hear_a_cancel(tasks, pretend, wait_until, monkeypatch) -> None:
    monkeypatch.setattr(task, "_FORCE_MILLISECONDS", 50)
    pretend("""print('{"event":"progress","stage":"a","fraction":0,"place":null,"seconds_left":null}', flush=True)
time.sleep(600)""")
    heard = Heard()
    started = tasks.start({"kind": "check"}, **heard.callbacks())
    wait_until(lambda: heard.calls, 120)
    started.cancel()
    wait_until(heard.has_ended, 120)
    assert heard.names() == ["cancelled", "ended"]


def test_python_that_is_not_there(application, wait_until, tmp_path) -> None:
    heard = Heard()
    process.Tasks(str(tmp_path / "PythonSlicer")).start({"kind": "check"}, **heard.callbacks())
    wait_until(heard.has_ended, 120)
    assert heard.names() == ["failed", "ended"]
    assert heard.failure().code == "worker-not-started"


def test_callback_that_fails_is_told_and_ends_nothing(tasks, lines, jobs, tmp_path, wait_until) -> None:
    heard = Heard()

    def fail(_: Any) -> None:
        raise KeyError("Meier")

    tasks.start(order_for(jobs.url, tmp_path / "a"), **{**heard.callbacks(), "done": fail})
    wait_until(heard.has_ended, 120)
    (failure,) = lines
    assert failure.code == "panel-error"
    assert "KeyError at test_slicer_process.py:" in failure.message
    assert "Meier" not in failure.message


def test_order_with_what_json_cannot_hold_is_refused_at_once(tasks) -> None:
    with pytest.raises(ValueError, match="JSON"):
        tasks.start({"kind": "check", "number": float("nan")}, **Heard().callbacks())


@pytest.mark.parametrize(
    ("platform", "name"), [("linux", "PythonSlicer"), ("darwin", "PythonSlicer"), ("win32", "PythonSlicer.exe")]
)
def test_interpreter_lies_in_slicers_own_folder(application, monkeypatch, platform: str, name: str) -> None:
    monkeypatch.setattr(process.shutil, "which", lambda _name: None)
    monkeypatch.setattr(process.sys, "platform", platform)
    assert process.interpreter() == str(Path(application.slicerHome) / "bin" / name)


def test_interpreter_on_the_path_comes_first(application, monkeypatch) -> None:
    monkeypatch.setattr(process.shutil, "which", {"PythonSlicer": "/opt/Slicer/bin/PythonSlicer"}.get)
    assert process.interpreter() == "/opt/Slicer/bin/PythonSlicer"
