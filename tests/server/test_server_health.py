"""What watches the server is told what does not work, and everything else as ever."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from covid_bert.errors import OutputError
from covid_bert.server.access import Role
from covid_bert.server.metrics import Metrics
from covid_bert.server.tokens import LiveTokens, TokenFile
from needed import require_module

require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")


def watched(*, metrics: Metrics | None = None, queue=lambda: True, tokens=lambda: False):
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    from covid_bert.server import health

    opened = SimpleNamespace(
        info=lambda: {"models": {"lungs": {}}},
        studies=str(Path(__file__).parent),
        datastore=lambda: SimpleNamespace(status=dict),
    )
    app = FastAPI()
    health.install(app, metrics or Metrics(), lambda: opened, queue, tokens)
    return TestClient(app)


def test_where_the_queue_stands_still_the_server_is_not_ready() -> None:
    alive = True
    client = watched(queue=lambda: alive)
    assert client.get("/readyz").status_code == 200
    alive = False
    reply = client.get("/readyz")
    assert reply.status_code == 503
    assert "queue" in reply.json()["detail"]["message"]


def test_where_tokens_cannot_be_read_the_server_is_not_ready(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "tokens.json")
    file.add("anna", Role.READER)
    live = LiveTokens(file)
    client = watched(tokens=lambda: live.required)
    assert client.get("/readyz").status_code == 200
    whole = file.path.read_text()
    file.path.write_text("{")
    reply = client.get("/readyz")
    assert (reply.status_code, reply.json()["detail"]["code"]) == (503, "not-ready")
    assert "tokens.json" in reply.json()["detail"]["message"]
    assert client.get("/healthz").status_code == 200
    file.path.write_text(whole)
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize("answers", [True, False])
def test_where_the_list_of_jobs_does_not_answer_all_other_numbers_are_told(answers: bool) -> None:
    def length() -> int:
        if not answers:
            raise OutputError("The list of jobs cannot be used.", "Free disk space.")
        return 3

    metrics = Metrics()
    metrics.follow_queue(length)
    metrics.observe("GET", "/info/", 200, 0.1)
    reply = watched(metrics=metrics).get("/metrics")
    assert reply.status_code == 200
    assert f"covid_bert_queue_length {'3.0' if answers else 'NaN'}" in reply.text
    assert 'route="/info/",status="200"} 1.0' in reply.text
