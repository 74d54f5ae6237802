"""The app under MONAI Label's own `start_server`, without our application around it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time

import pytest
import requests

from needed import REPOSITORY, require_module

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture
def stock_server(tmp_path):
    require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")
    studies = tmp_path / "studies"
    studies.mkdir()
    shutil.copy(REPOSITORY / "sample-data" / "lung1_image.nrrd", studies / "lung1.nrrd")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "monailabel.main", "start_server", "--app", str(REPOSITORY / "apps" / "covid_bert")),
        *("--studies", str(studies), "--host", "127.0.0.1", "--port", str(port)),
    ]
    environment = {**os.environ, "MONAI_LABEL_TRACKING_ENABLED": "false"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 180
        while True:
            assert process.poll() is None, (tmp_path / "log").read_text()[-3000:]
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()[-3000:]
            try:
                requests.get(f"{url}/info/", timeout=5)
                break
            except requests.ConnectionError:
                time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait(20)
        for folder in ("bin", "lib", "logs", "model"):
            shutil.rmtree(REPOSITORY / "apps" / "covid_bert" / folder, ignore_errors=True)


def test_stock_server_runs_the_app(stock_server, tmp_path) -> None:
    from monailabel.client import MONAILabelClient

    client = MONAILabelClient(stock_server, tmpdir=str(tmp_path))
    assert "covid_s1" in client.info()["models"]
    image, reply = client.infer(model="lungs_and_covid", image_id="lung1", params={"system": "baseline"})
    assert image
    assert reply["result"]["weights_state"] == "demonstration"
    refused = requests.post(f"{stock_server}/infer/lungs?image=nobody", files={"params": (None, "{}")}, timeout=60)
    assert refused.status_code == 404
    assert refused.json()["detail"]["hint"]


def test_stock_server_trains_with_the_same_words(stock_server, tmp_path) -> None:
    from monailabel.client import MONAILabelClient

    client = MONAILabelClient(stock_server, tmpdir=str(tmp_path))
    assert set(client.info()["trainers"]) == {"lungs", "covid_s1", "covid_s2", "covid_baseline"}
    client.train_start("lungs", {"epochs": 1})
    deadline = time.monotonic() + 300
    while client.train_status()["status"] in {"SUBMITTED", "RUNNING"}:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert client.train_status()["status"] == "ERROR", "there are no labels"
    stats = client.info()["train_stats"]
    assert next(iter(stats)) == "lungs"
    assert stats["lungs"]["error"]["code"] == "not-enough-labels"
