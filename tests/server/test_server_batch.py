"""MONAI Label's ``/batch/infer`` over the queue, with a model that does what it is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from fake_jobs import ADMIN
from served_inference import Served, serving

from needed import require_module

require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("inference")) as made:
        yield made


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
