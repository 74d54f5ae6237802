"""What goes wrong between Slicer and the server: each becomes one event that says what to do; nothing is left over."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worker_process import Worker, job_server, raw_volume, run, scripted_server

JOB_ID, TOKEN, VERSION = scripted_server.JOB_ID, scripted_server.TOKEN, scripted_server.VERSION
job, refusal, reply, reset = scripted_server.job, scripted_server.refusal, scripted_server.reply, scripted_server.reset
SESSION = reply(200, {"session_id": "one"})
STATE, RESULT, FILE = f"/jobs/{JOB_ID}", f"/jobs/{JOB_ID}/result", f"/jobs/{JOB_ID}/file"


@pytest.fixture
def jobs() -> Iterator[job_server.JobServer]:
    with job_server.running() as running:
        yield running


@pytest.fixture
def server() -> Iterator[scripted_server.Server]:
    with scripted_server.running() as running:
        running.script.update(
            {
                "/session/": [SESSION],
                "/jobs": [reply(202, job())],
                STATE: [reply(200, job("done"))],
                RESULT: [reply(200, {"params": {}, "files": ["lungs"]})],
                FILE: [reply(200, b"mask", {"Content-Type": "application/octet-stream"})],
            }
        )
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "private"
    path.mkdir(mode=0o700)
    return path


def order_for(url: str, folder: Path, voxels: np.ndarray | None = None, **fields: Any) -> dict[str, Any]:
    values = np.zeros((8, 16, 16)) if voxels is None else voxels
    server = {"url": url, "token": TOKEN, "ca_file": None, "read_timeout": 20, "insecure_network": False}
    volume = raw_volume(folder / "volume.raw", values)
    return {
        **{"kind": "classify", "server": server, "folder": str(folder), "volume": volume, "model": "lungs"},
        **{"params": {}, "wants": ["lungs"], "session_id": None, "sha256": None},
        **fields,
    }


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"volume.raw"}


def noise(count: int) -> np.ndarray:
    """Voxels that no compression makes smaller."""
    return np.random.default_rng(0).integers(-32768, 32767, (count, 256, 256))


def test_study_is_uploaded_once_and_under_no_name(jobs, folder) -> None:
    worker = Worker(order_for(jobs.url, folder))
    event = worker.end()
    result = event["result"]
    assert worker.stages()[:4] == ["reading", "compressing", "uploading", "waiting"]
    assert worker.stages()[4:] == ["read", "lungs", "write", "downloading"], "the stages of the server"
    assert (result["reused_upload"], result["result"]) == (False, None)
    assert result["params"] == {"lung_volume_ml": {"total": 5000.0}}
    assert Path(result["files"]["lungs"]).read_bytes() == job_server.IMAGE
    assert left(folder) == {"lungs.nrrd"}, "the compressed copy is gone"
    ((name, _content),) = jobs.sessions.values()
    assert name == "study.nrrd"
    known = {name: result[name] for name in ("session_id", "sha256")}
    (folder / "lungs.nrrd").unlink()
    again = run(order_for(jobs.url, folder, **known))["result"]
    assert again["reused_upload"] is True
    assert list(jobs.sessions) == [known["session_id"]]
    changed = run(order_for(jobs.url, folder, np.ones((8, 16, 16)), **known))["result"]
    assert (changed["reused_upload"], len(jobs.sessions)) == (False, 2)
    assert changed["sha256"] != known["sha256"]


def test_session_that_the_server_no_longer_has_is_uploaded_again(jobs, folder) -> None:
    sha256 = run(order_for(jobs.url, folder))["result"]["sha256"]
    again = run(order_for(jobs.url, folder, session_id="away", sha256=sha256))["result"]
    assert (again["reused_upload"], again["sha256"]) == (False, sha256)


def test_expired_session_is_uploaded_again(server, folder) -> None:
    sha256 = run(order_for(server.url, folder))["result"]["sha256"]
    server.script["/jobs"] = [refusal(410, "gone"), reply(202, job())]
    server.requests.clear()
    event = run(order_for(server.url, folder, session_id="old", sha256=sha256))
    assert event["result"]["session_id"] == "one"
    assert server.paths() == ["/version", "/jobs", "/session/", "/jobs", STATE, RESULT, FILE]


def test_several_files_are_asked_for_by_name(server, folder) -> None:
    server.script[RESULT] = [reply(200, {"params": {"result": {"a": 1}}, "files": ["lungs", "location", "../x"]})]
    for name in ("lungs", "location"):
        server.script[f"{FILE}?name={name}"] = [reply(200, name.encode())]
    result = run(order_for(server.url, folder, wants=["lungs", "lesions", "location"]))["result"]
    assert result["result"] == {"a": 1}
    assert b'"reply_image": "all"' in next(request.body for request in server.requests if request.path == "/jobs")
    assert {name: Path(path).read_bytes() for name, path in result["files"].items()} == {
        "lungs": b"lungs",
        "location": b"location",
    }


@pytest.mark.parametrize(
    ("path", "step", "code"),
    [
        ("/version", reply(200, {**VERSION, "version": "0.2.0"}), "version-mismatch"),
        ("/version", reply(200, {"name": "other"}), "wrong-server"),
        ("/session/", refusal(401, "token-refused"), "token-refused"),
        ("/session/", refusal(413, "too-large"), "too-large"),
        ("/session/", refusal(507, "disk-full"), "disk-full"),
        ("/session/", reply(200, {}), "invalid-answer"),
        ("/session/", reset, "connection-lost"),
        ("/jobs", refusal(403, "not-allowed"), "not-allowed"),
        ("/jobs", refusal(422, "bad-parameter"), "bad-parameter"),
        ("/jobs", reply(202, {"id": "x"}), "invalid-answer"),
        (STATE, refusal(401, "token-refused"), "token-refused"),
        (STATE, reply(200, b"<<<"), "invalid-answer"),
        (STATE, scripted_server.page(200), "wrong-server"),
        (STATE, scripted_server.raw(b"\x00\xff nothing\r\n\r\n"), "wrong-server"),
        (STATE, reset, "connection-lost"),
        (STATE, reply(200, job("expired")), "gone"),
        (STATE, reply(200, job("failed", error={"code": "not-ct", "message": "M.", "hint": "H."})), "not-ct"),
        (STATE, reply(200, job("cancelled")), "cancelled-elsewhere"),
        (RESULT, reply(200, {"params": [], "files": []}), "invalid-answer"),
        (RESULT, reply(200, b'{"params": {"a": NaN}, "files": []}'), "invalid-answer"),
        (RESULT, reply(200, {"params": {"result": "text"}, "files": []}), "invalid-answer"),
        (RESULT, refusal(410, "gone"), "gone"),
        (FILE, refusal(500, "internal"), "internal"),
    ],
)
def test_every_fault_of_the_server_is_one_event(server, folder, path: str, step: Any, code: str) -> None:
    server.script[path] = [step]
    event = run(order_for(server.url, folder))
    assert (event["event"], event["code"]) == ("failed", code)
    assert event["message"]
    assert event["hint"]
    after_upload = path not in ("/version", "/session/")
    assert (event["kept"].get("session_id") == "one") == after_upload, "it need not be uploaded again"
    assert left(folder) == set()


def test_full_server_says_when_to_come_again(server, folder) -> None:
    server.script["/jobs"] = [refusal(429, "busy", {"Retry-After": "120"})]
    event = run(order_for(server.url, folder))
    assert (event["code"], event["retry_after"], event["request_id"]) == ("busy", 120.0, "r1")


def test_server_that_dies_midway(jobs, folder) -> None:
    jobs.holds = True
    worker = Worker(order_for(jobs.url, folder))
    worker.wait_for("waiting")
    job_server.wait_for(lambda: jobs.jobs, 60)
    jobs.shutdown()
    jobs.server_close()
    event = worker.end()
    assert event["code"] in ("unreachable", "connection-lost")
    assert set(event["kept"]) == {"session_id", "sha256"}


def test_disk_that_is_full(jobs, folder) -> None:
    event = run(order_for(jobs.url, folder, noise(2)), longest_file_bytes=100_000)
    assert (event["event"], event["code"], left(folder)) == ("failed", "local-file", set())
    assert "File too large" in event["message"]
    assert jobs.sessions == {}
    event = run(order_for(jobs.url, folder), longest_file_bytes=len(job_server.IMAGE) - 1)
    assert (event["code"], left(folder)) == ("local-file", set())


def test_cancel_while_it_is_compressed(jobs, folder) -> None:
    order = order_for(jobs.url, folder)
    order["volume"]["header"]["sizes"] = [1024, 1024, 512]
    with (folder / "volume.raw").open("r+b") as file:
        file.truncate(2**30)
    worker = Worker(order)
    worker.wait_for("compressing")
    worker.cancel()
    assert worker.end() == {"event": "cancelled", "kept": {}}
    assert (jobs.sessions, left(folder)) == ({}, set())


@pytest.mark.parametrize(("path", "stage"), [("/session/", "uploading"), (FILE, "downloading"), ("/jobs", "waiting")])
def test_cancel_while_the_server_is_silent(server, folder, path: str, stage: str) -> None:
    freed, reached = threading.Event(), threading.Event()

    def silent(handler: Any) -> None:
        if path == FILE:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(1000))
        reached.set()
        freed.wait(60)
        if path == "/jobs":
            reply(202, job())(handler)

    silent.leaves_body = True
    server.script[path] = [silent]
    server.script[STATE] = [reply(200, job("cancelled"))]
    if path == FILE:
        server.script[STATE] = [reply(200, job("done"))]
    worker = Worker(order_for(server.url, folder, noise(128) if path == "/session/" else None))
    worker.wait_for(stage)
    assert reached.wait(60)
    worker.cancel()
    assert worker.wait_last()["event"] == "cancelled"
    if path == "/jobs":
        assert worker.process.poll() is None, "it still has to tell the server"
    freed.set()
    worker.end()
    assert left(folder) == set()
    if path == "/jobs":
        assert [(request.method, request.path) for request in server.requests][-1] == ("DELETE", STATE)


@pytest.mark.parametrize("state", ["queued", "running"])
def test_cancel_of_a_job_reaches_the_server(jobs, folder, state: str) -> None:
    jobs.holds = True
    worker = Worker(order_for(jobs.url, folder))
    job_server.wait_for(lambda: jobs.jobs, 60)
    (known,) = jobs.jobs.values()
    known.update(state=state, stage="lungs" if state == "running" else "", fraction=0.5)
    worker.wait_for("lungs" if state == "running" else "waiting")
    worker.cancel()
    event = worker.end()
    assert event["event"] == "cancelled"
    assert event["kept"]["session_id"] in jobs.sessions, "the upload is kept for the next time"
    assert known["state"] == "cancelled"


@pytest.mark.parametrize("how", ["end of the input", "signal"])
def test_nobody_waits_any_more(jobs, folder, how: str) -> None:
    jobs.holds = True
    worker = Worker(order_for(jobs.url, folder))
    job_server.wait_for(lambda: jobs.jobs, 60)
    if how == "signal":
        worker.process.send_signal(signal.SIGTERM)
    worker.close()
    assert worker.process.returncode == 0
    assert [known["state"] for known in jobs.jobs.values()] == ["cancelled"]
    assert jobs.sessions == {}, "nobody will use the upload"
    assert left(folder) == set()


@pytest.mark.parametrize("line", [b"\n", b"[1]\n", b'{"kind": "x"}\n', b'{"kind": "check"}\n', b"[" * 9999 + b"\n"])
def test_order_that_is_none(line: bytes) -> None:
    assert run(line)["code"] == "bad-order"


def test_input_that_ends_before_the_order() -> None:
    worker = Worker(b'{"kind": "ch')
    worker.close()
    assert worker.process.returncode == 0
    assert {event["event"] for event in worker.events} <= {"failed"}
