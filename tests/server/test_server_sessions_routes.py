"""The routes of uploaded studies: upload, renew, end, and whose they are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from covid_bert.server import failures
from covid_bert.server.access import Role
from covid_bert.server.authentication import Caller
from covid_bert.server.sessions import install
from covid_bert.server.sessions_store import SessionStore


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(tmp_path: Path, clock: Clock) -> SessionStore:
    return SessionStore(tmp_path / "sessions", most=3, minutes=10, megabytes=2, clock=clock)


def files(kept: SessionStore) -> list[Path]:
    # Unlike rglob, it goes past a folder that is being removed just now.
    return [Path(folder, name) for folder, inside, names in os.walk(kept.store_path) for name in (*inside, *names)]


@pytest.fixture
def client(kept: SessionStore) -> TestClient:
    app = FastAPI()
    failures.install(app)

    @app.middleware("http")
    async def _caller(request: Request, call_next):
        name = request.headers.get("x-test-name", "anna")
        request.state.caller = Caller(name, Role.ADMIN if name == "root" else Role.READER)
        return await call_next(request)

    install(app, kept, on_end=lambda: None)
    return TestClient(app)


def put(client: TestClient, *names: str, path: str = "/session/", name: str = "anna"):
    sent = [("files", (one, b"patient")) for one in names]
    return client.put(path, files=sent, headers={"x-test-name": name})


def test_the_routes_upload_renew_and_end(client: TestClient, kept: SessionStore, clock: Clock) -> None:
    created = put(client, "a.nii.gz").json()
    path = f"/session/{created['session_id']}"
    assert created["session_info"]["image"] == "a.nii.gz"
    assert str(kept.store_path) not in str(created)
    clock.now += 599
    assert client.post(f"{path}/heartbeat").json() == {"session_id": created["session_id"], "seconds_left": 600.0}
    assert client.get(f"{path}?image=true").content == b"patient"
    assert client.get(path).status_code == 200
    assert client.delete(path).status_code == 200
    for method, where in (("GET", path), ("DELETE", path), ("POST", f"{path}/heartbeat")):
        reply = client.request(method, where)
        assert reply.status_code == 410
        assert reply.json()["detail"]["code"] == "gone"
    assert client.get("/session/x").status_code == 404
    assert files(kept) == []


def test_another_users_session_looks_like_one_that_has_ended(client: TestClient) -> None:
    path = f"/session/{put(client, 'a.nii').json()['session_id']}"
    for method, where in (("GET", path), ("DELETE", path), ("POST", f"{path}/heartbeat"), ("GET", f"{path}?image=1")):
        assert client.request(method, where, headers={"x-test-name": "bert"}).status_code == 410
    assert client.get(path, headers={"x-test-name": "root"}).status_code == 200
    assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    "names", [["../a.nii"], [".a.nii"], ["a\\b"], ["a.dcm", "a.dcm"], ["x" * 300], ["a" + "ä" * 150]]
)
def test_names_of_files_are_plain(client: TestClient, kept: SessionStore, names: list[str]) -> None:
    reply = put(client, *names)
    assert reply.status_code == 422
    assert files(kept) == []


def test_several_files_are_one_study(client: TestClient, kept: SessionStore) -> None:
    session = put(client, "1.dcm", "2.dcm").json()["session_id"]
    assert {path.name for path in kept.get_session(session).image.iterdir()} == {"1.dcm", "2.dcm"}
    assert client.get(f"/session/{session}?image=true").status_code == 422
    assert put(client, "1.dcm", path="/session/?uncompress=true").status_code == 422
