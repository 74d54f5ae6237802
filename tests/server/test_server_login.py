"""The login of MONAI Label's clients: a name and, as the password, a token."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import uvicorn
from fastapi import FastAPI
from served import in_thread

from covid_bert.server.access import Role
from covid_bert.server.audit import AuditLog, default_audit_folder
from covid_bert.server.configuration import load
from covid_bert.server.tokens import LiveTokens, TokenFile
from needed import require_module

require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "tokens.json")


@pytest.fixture
def url(tokens: TokenFile) -> Iterator[str]:
    from covid_bert.server import failures, login
    from covid_bert.server.layers import protected
    from covid_bert.server.metrics import Metrics

    app, live = FastAPI(), LiveTokens(tokens)
    failures.install(app)
    login.install(app, live)
    configuration = load({"studies": "unused", "requests_per_minute": 8}, environment={})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    layered = protected(app, configuration, live, Metrics())
    with in_thread(uvicorn.Config(layered, port=port, log_config=None)):
        yield f"http://127.0.0.1:{port}"


def test_monailabels_client_logs_in_with_a_token_as_the_password(url: str, tokens: TokenFile) -> None:
    from monailabel.client import MONAILabelClient
    from monailabel.client.client import MONAILabelClientException

    client = MONAILabelClient(url)
    assert not client.auth_enabled(), "without tokens nobody is asked for a password"
    secret = tokens.add("anna", Role.ANNOTATOR)
    assert client.auth_enabled()
    assert not client.auth_valid_token()
    with pytest.raises(MONAILabelClientException) as caught:
        client.auth_token("anna", "guessed")
    assert caught.value.status_code == 401
    client.update_auth(client.auth_token("whoever", secret))
    assert client.auth_valid_token()
    reply = requests.get(f"{url}/auth/token/valid", headers={"Authorization": f"bearer {secret}"}).json()
    assert (reply["username"], reply["roles"]) == ("anna", ["reader", "annotator"])


def test_a_refused_login_is_in_the_audit_log_and_guesses_are_counted(url: str, tokens: TokenFile) -> None:
    secret = tokens.add("anna", Role.READER)
    sent = {"username": "anna", "password": "guessed", "grant_type": "password"}
    codes = [requests.post(f"{url}/auth/token", data=sent).status_code for _ in range(9)]
    assert codes == [401] * 8 + [429]
    text = "".join(path.read_text() for path in AuditLog(default_audit_folder()).files())
    assert "login-refused" in [json.loads(line)["action"] for line in text.splitlines()]
    assert "guessed" not in text
    assert secret not in text


@pytest.mark.parametrize("content", ["{", '{"tokens": [{"name": "anna"}]}'])
def test_tokens_that_cannot_be_read_are_the_servers_fault(url: str, tokens: TokenFile, content: str) -> None:
    tokens.add("anna", Role.READER)
    tokens.path.write_text(content)
    login = {"username": "anna", "password": "guessed"}
    replies = [
        *(requests.get(f"{url}/auth/"), requests.post(f"{url}/auth/token", data=login)),
        requests.get(f"{url}/auth/token/valid"),
    ]
    assert [reply.status_code for reply in replies] == [503] * 3
    details = [reply.json()["detail"] for reply in replies]
    assert {detail["code"] for detail in details} == {"server"}
    assert len({(detail["message"], detail["hint"]) for detail in details}) == 1


def test_a_login_without_need_gives_nothing(url: str) -> None:
    reply = requests.post(f"{url}/auth/token", data={"username": "a", "password": "b"}).json()
    assert reply == {"access_token": None, "token_type": None}
