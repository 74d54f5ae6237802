"""MONAI Label's ``POST /infer/{model}`` over the queue, with a model that does what it is told."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from fake_jobs import ADMIN, await_that, wait_for
from served_inference import Served, serving

from covid_bert.errors import GoneError
from covid_bert.server.jobs.runner import JobResult
from needed import require_module

require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("inference")) as made:
        yield made


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
