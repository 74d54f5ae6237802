"""MONAI Label's ``POST /infer/{model}`` and ``/batch/infer`` over the queue, with a model that does what it is told."""

from __future__ import annotations

import errno
import functools
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn
from fake_jobs import ADMIN, await_that, running, wait_for
from served import in_thread

from covid_bert.errors import GoneError
from covid_bert.server.audit import AuditKey, AuditLog
from covid_bert.server.jobs.runner import JobResult, JobRunner
from needed import require_module

require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")


@dataclass
class FakeStore:
    """Keeps what is saved as labels."""

    saved: list[tuple[str, bytes, str, dict[str, Any]]] = field(default_factory=list)

    def list_images(self) -> list[str]:
        return ["a", "b", "nobody"]

    def get_unlabeled_images(self, _tag: str) -> list[str]:
        return ["b"]

    def save_label(self, image: str, file: str, tag: str, information: dict[str, Any]) -> str:
        self.saved.append((image, Path(file).read_bytes(), tag, information))
        return image


@dataclass
class Served:
    url: str
    port: int
    runner: JobRunner
    store: FakeStore
    server: uvicorn.Server
    audit: AuditLog
    held: list[str]

    def audited(self, image: str) -> list[tuple[str, str]]:
        """Action and outcome of the lines about a study."""
        found = [json.loads(line) for file in self.audit.files() for line in file.read_text().splitlines()]
        name = AuditKey(self.audit.folder).name(image) if found else ""
        return [(line["action"], line["outcome"]) for line in found if line["study"] == name]

    def infer(self, query: str, role: str = "annotator", **options: Any) -> requests.Response:
        params = {"params": (None, json.dumps(options.pop("params", {})))}
        files = {**params, **options.pop("files", {})}
        headers = {"x-test-role": role, **options.pop("headers", {})}
        return requests.post(f"{self.url}/infer/fake?{query}", files=files, headers=headers, timeout=300)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("inference")) as made:
        yield made


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    from fastapi import Depends, FastAPI
    from starlette.datastructures import Headers

    from covid_bert.server import batch, failures, health, inference
    from covid_bert.server.access import Role
    from covid_bert.server.authentication import Caller
    from covid_bert.server.metrics import Metrics
    from covid_bert.server.strict import refuse_unknown

    store, audit, held = FakeStore(), AuditLog(folder / "audit"), []

    class Opened:
        def datastore(self) -> FakeStore:
            return store

    held: list[str] = []

    def hold_session(_request: Any, session: str) -> Any:
        if session == "of-another":
            raise GoneError("The uploaded study is no longer kept.", "Upload it again.")
        held.append(session)
        return lambda: held.remove(session)

    async def lost(_message: Any) -> None:
        raise OSError(errno.EPIPE, "the client left")

    app = FastAPI(dependencies=[Depends(refuse_unknown)])

    async def with_caller(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            role = Headers(scope=scope).get("x-test-role", "admin")
            scope.setdefault("state", {})["caller"] = Caller("anna", Role(role))
            send = lost if "x-test-lost" in Headers(scope=scope) else send
        await app(scope, receive, send)

    with running(folder) as runner:
        failures.install(app)
        save = functools.partial(inference.save_label, store, audit)
        inference.install(app, runner, Opened(), hold_session, save)
        batches = batch.Batches(runner, save)
        batch.install(app, batches, Opened())
        health.install(app, Metrics(), Opened, lambda: runner.alive, lambda: False)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        config = uvicorn.Config(with_caller, port=port, log_level="warning", timeout_graceful_shutdown=1)
        with in_thread(config) as server:
            yield Served(f"http://127.0.0.1:{port}", port, runner, store, server, audit, held)


def test_the_reply_has_json_and_image_and_leaves_nothing(served: Served) -> None:
    reply = served.infer("image=study")
    assert reply.status_code == 200
    assert b"mask of study" in reply.content
    assert served.infer("image=study&output=json").json() == {"study": "study"}
    assert served.store.saved == []


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("place", ["shutil.copyfile", "TemporaryDirectory"])
def test_no_room_for_the_reply_is_said_as_such_and_leaves_nothing(
    served: Served, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(f"covid_bert.server.inference.{place}", full)
        reply = served.infer("image=study")
    assert (reply.status_code, reply.json()["detail"]["code"]) == (507, "cannot-write")
    assert list(tmp_path.iterdir()) == []
    assert served.infer("image=study").status_code == 200


def test_a_result_that_went_with_its_session_is_gone(tmp_path: Path) -> None:
    from covid_bert.server.inference import _own_copy

    with pytest.raises(GoneError):
        _own_copy(JobResult({}, {"lungs": tmp_path / "gone.nii.gz"}), tmp_path)


def test_a_label_is_saved_for_the_study_that_was_computed_and_no_other(served: Served) -> None:
    assert served.infer("image=study", params={"save_label": True}).status_code == 200
    ((image, content, tag, information),) = served.store.saved
    assert (image, content, tag) == ("study", b"mask of study", "original")
    assert information["user"] == "anna"
    assert served.audited("study") == [("label-written", "begun"), ("label-written", "done")]
    served.store.saved.clear()
    for query, files in (("image=study", {"file": ("a.nii", b"other")}), ("image=study&session_id=other", {})):
        assert served.infer(query, params={"save_label": True}, files=files).status_code == 422
    assert served.infer("image=study", "reader", params={"save_label": True}).status_code == 403
    assert served.store.saved == []


@pytest.mark.parametrize(
    ("name", "status"), [("a.nii", 200), ("a.exe", 415), ("a." + "\u00e4" * 190, 415), ("..", 415)]
)
def test_the_name_of_an_upload_says_only_its_kind(served: Served, name: str, status: int) -> None:
    assert served.infer("", files={"file": (name, b"x")}).status_code == status


def test_the_session_of_another_user_is_not_computed(served: Served) -> None:
    before = served.runner.requests.computed()
    assert served.infer("session_id=of-another").status_code == 410
    assert served.runner.requests.computed() == before


def test_a_session_is_held_while_it_is_computed_and_no_longer(served: Served) -> None:
    for params, status in (({}, 200), ({"action": "typed"}, 422)):
        assert served.infer("session_id=own", params=params).status_code == status
        deadline = time.monotonic() + 60
        while served.held:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_uploads_and_replies_do_not_stay(served: Served, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for query, files in (("", {"file": ("a.nii", b"x")}), ("image=study", {}), ("image=nobody", {})):
        served.infer(query, files=files)
    deadline = time.monotonic() + 60
    while list(tmp_path.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_client_that_leaves_gives_its_place_back(served: Served) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="params"\r\n\r\n{"action": "steps"}\r\n--x--\r\n'
    head = f"POST /infer/fake?image=left HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
        connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode() + body)
        await_that(lambda: served.runner.queue_length() > 0)
        job = served.runner.jobs(ADMIN)[0]
    wait_for(served.runner, job.id, "cancelled")


@pytest.mark.parametrize("output", ["json", "image", "all"])
def test_an_answer_that_cannot_be_sent_holds_nothing(
    served: Served, output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert served.infer(f"session_id=own&output={output}", headers={"x-test-lost": "1"}).status_code == 500
    await_that(lambda: not served.held and not list(tmp_path.iterdir()))
    assert served.infer(f"session_id=own&output={output}").status_code == 200
    await_that(lambda: not served.held)


def test_other_requests_are_answered_while_many_wait_for_their_inference(served: Served) -> None:
    waiting = 4
    with ThreadPoolExecutor(waiting) as pool:
        held = [pool.submit(served.infer, f"image={number}", params={"action": "steps"}) for number in range(waiting)]
        await_that(lambda: served.runner.queue_length() == waiting)
        # One is answered on the event loop, the other one by a thread.
        for path in ("healthz", "readyz", "batch/infer"):
            assert requests.get(f"{served.url}/{path}", timeout=60).status_code in {200, 404, 503}
        assert not any(reply.done() for reply in held)
        for job in served.runner.jobs(ADMIN)[:waiting]:
            served.runner.cancel(job.id, ADMIN)
        assert {reply.result(120).json()["detail"]["code"] for reply in held} == {"cancelled"}


def test_who_waits_when_the_server_stops_is_told_to_come_back(tmp_path: Path) -> None:
    with serving(tmp_path) as served, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(served.infer, "image=study", params={"action": "steps"})
        await_that(lambda: served.runner.queue_length() > 0)
        served.server.should_exit = True
        reply = waiting.result(120)
    assert (reply.status_code, reply.json()["detail"]["code"]) == (503, "interrupted")


def batch_state(served: Served, *ends: str) -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while (state := requests.get(f"{served.url}/batch/infer", timeout=60).json())["status"] not in ends:
        assert time.monotonic() < deadline, state
        time.sleep(0.1)
    return state


def test_a_batch_saves_its_labels_and_goes_past_bad_studies(served: Served) -> None:
    assert requests.get(f"{served.url}/batch/infer?check_if_running=true", timeout=60).status_code == 404
    sent = requests.post(f"{served.url}/batch/infer/fake", json={"max_batch_size": 0}, timeout=60)
    assert sent.json()["status"] in {"SUBMITTED", "RUNNING"}
    state = batch_state(served, "DONE")
    assert {name: error["code"] for name, error in state["errors"].items()} == {"nobody": "not-found"}
    assert sorted(label[0] for label in served.store.saved) == ["a", "b"]
    assert served.audited("b") == [("label-written", "begun"), ("label-written", "done")]
    served.store.saved.clear()
    requests.post(f"{served.url}/batch/infer/fake?images=unlabeled", json={"label_tag": "final"}, timeout=60)
    batch_state(served, "DONE")
    assert [(label[0], label[2]) for label in served.store.saved] == [("b", "final")]
    served.store.saved.clear()


def test_a_batch_is_stopped_with_its_job_and_there_is_one_at_a_time(served: Served) -> None:
    url = f"{served.url}/batch/infer"
    assert requests.post(f"{url}/fake", json={"action": "steps", "images": ["a", "b"]}, timeout=60).status_code == 200
    assert requests.post(f"{url}/fake", json={}, timeout=60).status_code == 429
    assert requests.get(f"{url}?check_if_running=true", timeout=60).json()["status"] in {"SUBMITTED", "RUNNING"}
    requests.delete(url, timeout=60)
    batch_state(served, "STOPPED")
    assert served.runner.queue_length() == 0
    assert served.store.saved == []


def test_a_batch_without_a_thread_is_no_batch_that_runs(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{served.url}/batch/infer"
    whole = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name == "batch":
            raise RuntimeError("can't start new thread")
        whole(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        refused = requests.post(f"{url}/fake", json={"images": ["a"]}, timeout=60)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
    assert batch_state(served, "ERROR")["errors"]["*"]["code"] == "busy"
    assert requests.post(f"{url}/fake", json={"images": ["a"]}, timeout=60).status_code == 200
    batch_state(served, "DONE")
    served.store.saved.clear()


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("", {"no_such_key": 1}),
        ("", {"label_tag": "../../evil"}),
        ("", {"images": "a"}),
        ("", {"max_batch_size": -1}),
        ("?images=some", {}),
        ("?run_sync=true", {}),
    ],
)
def test_a_wrong_batch_is_refused_before_it_begins(served: Served, query: str, body: dict[str, Any]) -> None:
    before = len(served.runner.jobs(ADMIN))
    assert requests.post(f"{served.url}/batch/infer/fake{query}", json=body, timeout=60).status_code == 422
    assert len(served.runner.jobs(ADMIN)) == before
