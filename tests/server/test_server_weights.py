"""Weights over REST: listed, published with the gate's leave, rolled back; who did it stands in the audit log."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI
from served import in_thread

from covid_bert.client import Client, errors
from covid_bert.lungs import unet
from covid_bert.server.access import Role
from covid_bert.server.audit import default_audit_folder
from covid_bert.server.configuration import load
from covid_bert.server.tokens import LiveTokens, TokenFile
from covid_bert.weights.store import live
from made_versions import REASON, install_lungs
from needed import require_module

require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")


@dataclass(frozen=True)
class Server:
    reader: Client
    admin: Client


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    from covid_bert.server import failures, health, weights_routes
    from covid_bert.server.layers import protected
    from covid_bert.server.metrics import Metrics

    tokens = TokenFile(tmp_path / "tokens.json")
    secrets = [tokens.add(role.value, role) for role in (Role.ANNOTATOR, Role.ADMIN)]
    app, metrics, alive = FastAPI(), Metrics(), LiveTokens(tokens)
    failures.install(app)
    health.install(app, metrics, lambda: None, lambda: True, lambda: True)
    weights_routes.install(app)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    configuration = load({"studies": "unused", "port": port}, environment={})
    layered = protected(app, configuration, alive, metrics)
    with in_thread(uvicorn.Config(layered, port=port, log_config=None)):
        yield Server(*(Client(f"http://127.0.0.1:{port}", secret) for secret in secrets))


def lungs_of(client: Client) -> dict:
    (found,) = [model for model in client.weights() if model["model"] == "lungs"]
    return found


def actions() -> list[tuple[str, str, str]]:
    lines = [json.loads(line) for path in default_audit_folder().glob("*.jsonl") for line in path.open()]
    return [(line["action"], line["outcome"], line["token"]) for line in lines if line["action"].startswith("weights")]


def test_models_and_versions_are_listed_newest_first(server: Server) -> None:
    shipped = live(unet.WEIGHTS_NAME)
    candidate = install_lungs(False)
    models = server.reader.weights()
    assert [model["model"] for model in models] == ["lungs", "covid_s1", "covid_s2", "covid_baseline"]
    found = lungs_of(server.reader)
    assert (found["name"], found["live"], found["warning"]) == (unet.WEIGHTS_NAME, shipped.version, None)
    newest, oldest = found["versions"]
    assert (newest["version"], newest["state"]) == (candidate.version, "candidate")
    assert newest["gate"]["reason"] == REASON
    assert REASON in newest["needs_word"]
    assert newest["metrics"][0]["lower"] == 0.96
    assert (oldest["version"], oldest["state"], oldest["gate"]) == (shipped.version, "live", None)
    assert oldest["demonstration"]
    details = server.reader.weights_version("lungs", candidate.version)
    assert details["version"] == newest
    assert details["record"]["configuration"] == {"epochs": 20, "seed": 0}
    assert server.reader.weights_version("lungs", shipped.version)["record"] is None


def test_publishing_needs_the_role_and_the_gate(server: Server) -> None:
    before = live(unet.WEIGHTS_NAME)
    refused, passed = install_lungs(False), install_lungs(True, seed=1)
    with pytest.raises(errors.NotAllowedError):
        server.reader.publish_weights("lungs", passed.version)
    with pytest.raises(errors.ConflictError, match="did not pass the gate"):
        server.admin.publish_weights("lungs", refused.version)
    assert live(unet.WEIGHTS_NAME) == before
    other = install_lungs(True, seed=2)
    assert lungs_of(server.reader)["versions"][0]["needs_word"] is None
    assert server.admin.publish_weights("lungs", passed.version)["live"] == passed.version
    assert f"and {passed.version} is live now" in lungs_of(server.reader)["versions"][0]["needs_word"]
    with pytest.raises(errors.ConflictError, match="is live now"):
        server.admin.publish_weights("lungs", other.version)
    assert server.admin.publish_weights("lungs", refused.version, despite_gate=True)["live"] == refused.version
    assert server.admin.roll_back_weights("lungs")["live"] == passed.version
    states = {item["version"]: item["state"] for item in lungs_of(server.reader)["versions"]}
    assert states == {
        before.version: "shipped",
        passed.version: "live",
        refused.version: "former",
        other.version: "candidate",
    }
    done = [(action, token) for action, outcome, token in actions() if outcome == "done"]
    assert done == [("weights-published", "admin")] * 2 + [("weights-rolled-back", "admin")]
    assert ("weights-published", "refused", "annotator") in actions()


def test_what_is_not_there_is_not_found_and_nothing_before_is_a_conflict(server: Server) -> None:
    for model, version in (("lungs", "v999"), ("lesions", "v001")):
        with pytest.raises(errors.NotFoundError):
            server.reader.weights_version(model, version)
        with pytest.raises(errors.NotFoundError):
            server.admin.publish_weights(model, version)
    with pytest.raises(errors.InvalidRequestError):
        server.admin.publish_weights("lungs", "latest")
    with pytest.raises(errors.ConflictError):
        server.admin.roll_back_weights("lungs")
    with pytest.raises(errors.NotAllowedError):
        server.reader.roll_back_weights("lungs")


def test_a_damaged_live_version_is_said(server: Server) -> None:
    version = install_lungs(True)
    server.admin.publish_weights("lungs", version.version)
    version.path.write_bytes(b"nothing")
    found = lungs_of(server.reader)
    assert found["live"] == version.version
    assert "was used in its place" in found["warning"]
    assert found["versions"][0]["state"] == "damaged"
    (version.path.parent / "manifest.json").write_text("{")
    assert lungs_of(server.reader)["versions"][0] == {
        "version": version.version,
        "state": "damaged",
        "created": None,
        "trained_on": "",
        "demonstration": None,
        "metrics": [],
        "gate": None,
        "needs_word": None,
    }
