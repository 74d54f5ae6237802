"""Training on a live server: MONAI Label's own client, roles, two at once, live numbers, inferences meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from fake_training import EPOCHS, HELD, asked, await_that, computed

from covid_bert.server.access import Role
from covid_bert.server.audit import lines_of
from covid_bert.server.tokens import TokenFile
from needed import REPOSITORY, require_module

pytestmark = [pytest.mark.server, pytest.mark.slow]


@dataclass(frozen=True)
class Server:
    url: str
    studies: Path
    home: Path
    tokens: dict[str, str]

    def ask(self, method: str, route: str, role: str = "admin", **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.tokens[role]}"}
        return requests.request(method, f"{self.url}{route}", headers=headers, timeout=300, **options)

    def training(self) -> dict[str, Any]:
        return self.ask("GET", "/train/", "reader").json()

    def audited(self) -> list[dict[str, Any]]:
        files = sorted((self.home / "audit").glob("*.jsonl"))
        return [json.loads(line) for file in files for line in lines_of(file)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")
    folder = tmp_path_factory.mktemp("training")
    studies = folder / "studies"
    studies.mkdir()
    shutil.copy(REPOSITORY / "sample-data" / "lung1_image.nrrd", studies / "lung1.nrrd")
    tokens = TokenFile(folder / "tokens.json")
    secrets = {role.value: tokens.add(role.value, role) for role in Role}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "COVID_BERT_HOME": str(folder / "home")}
    command = [sys.executable, str(Path(__file__).with_name("training_server.py"))]
    process = subprocess.Popen([*command, str(studies), str(port), str(tokens.path)], env=environment)
    made = Server(f"http://127.0.0.1:{port}", studies, folder / "home", secrets)
    try:
        await_that(lambda: process.poll() is not None or _answers(made.url))
        assert process.poll() is None
        yield made
    finally:
        process.terminate()
        process.wait(60)


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


@pytest.fixture
def client(server: Server, tmp_path: Path):
    from monailabel.client import MONAILabelClient

    made = MONAILabelClient(server.url, tmpdir=str(tmp_path))
    made.update_auth({"token_type": "Bearer", "access_token": server.tokens["admin"]})
    return made


def test_stock_client_corrects_and_trains(client, server: Server) -> None:
    assert client.train_status(check_if_running=True) is False
    sample = client.next_sample("first", {})
    assert sample["id"] == "lung1"
    mask, _ = client.infer("lungs", "lung1", {})
    assert client.save_label("lung1", mask, tag="final")["label"] == "lung1"
    # With a token, the client sends the length of what it uploaded last with requests that have no body, too.
    config = client.info()["trainers"]["lungs"]["config"]
    assert config["device"] == ["auto", "cpu", "cuda"]
    # As MONAI Label's module for 3D Slicer sends them.
    params = {name: value[0] if isinstance(value, list) else value for name, value in config.items()}
    asked(server.studies, "hold")
    started = client.train_start("lungs", {**params, "epochs": str(EPOCHS)})
    assert started["status"] in {"SUBMITTED", "RUNNING"}
    assert client.train_status(check_if_running=True) is True
    await_that(lambda: len(client.train_status()["curve"]) == HELD - 1)
    status = client.train_status()
    assert (status["id"], status["status"]) == (started["id"], "RUNNING")
    assert status["request"]["model"] == "lungs"
    assert "client_id" not in status["request"]
    assert status["left_out"] == [{"identifier": "broken", "reason": "The mask is on another grid."}]
    stats = client.info()["train_stats"]
    assert next(iter(stats)) == "lungs", "the module shows the first one"
    assert (stats["lungs"]["epoch"], stats["lungs"]["total_epochs"]) == (HELD - 1, EPOCHS)
    assert 0 < stats["lungs"]["best_metric"] < 1
    # A study is segmented, not looked up, while the training holds its processor.
    again, _ = client.infer("lungs", "lung1", {"lungs": "morphological"})
    assert Path(again).stat().st_size > 0
    assert client.train_status()["status"] == "RUNNING"
    assert client.train_stop()["status"] == "STOPPED"
    assert client.train_status(check_if_running=True) is False
    assert client.train_status()["status"] == "STOPPED"


def test_two_at_once_are_refused_and_the_second_may_wait(server: Server) -> None:
    asked(server.studies, "hold")
    before = len(computed(server.studies))
    first = server.ask("POST", "/train/lungs", json={"epochs": EPOCHS}).json()
    await_that(lambda: len(computed(server.studies)) > before)
    refused = server.ask("POST", "/train/covid_s1", json={})
    assert refused.status_code == 429
    assert refused.json()["detail"]["message"].startswith("A training of lungs runs already")
    assert int(refused.headers["Retry-After"]) > 0
    second = server.ask("POST", "/train/covid_s1?enqueue=true", json={"epochs": 1}).json()
    assert second["status"] == "SUBMITTED"
    assert [item["id"] for item in server.ask("GET", "/train/?all=true").json()][-2:] == [first["id"], second["id"]]
    jobs = {job["id"]: job for job in server.ask("GET", "/jobs").json()["jobs"]}
    assert (jobs[first["id"]]["model"], jobs[first["id"]]["state"]) == ("train/lungs", "running")
    assert jobs[second["id"]]["state"] == "queued"
    numbers = server.ask("GET", "/metrics").text
    assert 'covid_bert_trainings{state="running"} 1.0' in numbers
    assert 'covid_bert_trainings{state="waiting"} 1.0' in numbers
    cancelled = server.ask("DELETE", f"/jobs/{first['id']}").json()
    assert cancelled["model"] == "train/lungs"
    await_that(lambda: server.ask("GET", f"/jobs/{second['id']}").json()["state"] == "done")
    assert server.ask("GET", f"/jobs/{first['id']}").json()["state"] == "cancelled"
    result = server.ask("GET", f"/jobs/{second['id']}/result").json()
    assert result["params"]["published"] is True
    ended = [line for line in server.audited() if line["action"] == "training-ended"]
    assert [line["ended"] for line in ended][-2:] == ["stopped", "published"]
    published = [line for line in server.audited() if line["action"] == "weights-published"]
    assert published[-1]["token"] == "admin"
    assert 'covid_bert_trainings_ended_total{model="covid_s1",outcome="published"} 1.0' in (
        server.ask("GET", "/metrics").text
    )


def test_roles(server: Server) -> None:
    for role in ("reader", "annotator"):
        for method, route in (("POST", "/train/"), ("POST", "/train/lungs"), ("DELETE", "/train/")):
            assert server.ask(method, route, role).status_code == 403
    assert requests.get(f"{server.url}/train/", timeout=60).status_code == 401
    assert server.ask("GET", "/train/", "reader").status_code in {200, 404}
    assert all(not job["model"].startswith("train/") for job in server.ask("GET", "/jobs", "reader").json()["jobs"])
    refused = [line for line in server.audited() if line["action"] == "training-started"]
    assert {"refused"} <= {line["outcome"] for line in refused}


def test_what_cannot_be_asked(server: Server) -> None:
    assert server.ask("POST", "/train/lesions", json={}).status_code == 404
    for body in ({"epochs": 0}, {"no_such_key": 1}, {"device": "cuda:1"}, {"readers": "../x"}, {"epochs": [1]}):
        reply = server.ask("POST", "/train/lungs", json=body)
        assert reply.status_code == 422, reply.text
        assert server.ask("POST", "/train/", json={"lungs": body}).status_code == 422
    for body in ({"lesions": {}}, {"lungs": 1}):
        assert server.ask("POST", "/train/", json=body).status_code == 422
    assert server.ask("DELETE", "/train/").status_code == 404
    assert server.ask("GET", "/train/?check_if_running=true").status_code == 404


def test_all_models_one_after_the_other_and_too_few_labels_in_plain_words(server: Server) -> None:
    asked(server.studies, "few")
    replies = server.ask("POST", "/train/", json={"lungs": {"epochs": EPOCHS}, "client_id": "someone"}).json()
    assert set(replies) == {"lungs", "covid_s1", "covid_s2", "covid_baseline"}
    await_that(lambda: server.ask("GET", f"/jobs/{replies['lungs']['result']['id']}").json()["state"] == "failed")
    shown = next(
        item
        for item in server.ask("GET", "/train/?all=true").json()
        if item["request"]["model"] == "lungs" and item["error"]
    )
    assert shown["status"] == "ERROR"
    assert shown["error"]["code"] == "not-enough-labels"
    assert shown["error"]["message"] == "There are 1 corrected masks to learn from."
    while server.ask("DELETE", "/train/").status_code == 200:
        pass
    asked(server.studies)
    done = server.ask("POST", "/train/covid_s2?run_sync=true", json={"epochs": 1, "publish": False}).json()
    assert (done["status"], done["result"]["published"]) == ("DONE", False)
