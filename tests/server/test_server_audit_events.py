"""Which requests leave a line in the audit log, and who leaves none."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import served as module
from served import served

from covid_bert.errors import OutputError
from covid_bert.server.access import ACCESS, Entry, Role, find
from covid_bert.server.audit import AuditKey, AuditLog, default_audit_folder
from covid_bert.server.audit_check import verify_audit_log
from covid_bert.server.audit_events import ACTIONS, READING, RefusedLogins, event_of
from covid_bert.server.authentication import Caller
from covid_bert.server.headers import RequestFrame
from covid_bert.server.metrics import Metrics
from covid_bert.server.recording import Recorder
from covid_bert.server.tokens import TokenFile

STUDY = "MarkerStudy"
DOWNLOADS = {
    *("/datastore/image", "/datastore/label", "/datastore/label/version", "/datastore/dataset"),
    *("/jobs/{identifier}/file", "/session/{session_id}"),
}


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for file in AuditLog(folder).files() for line in file.read_text().splitlines()]


def test_changes_and_downloads_leave_a_line_before_they_are_answered(tmp_path: Path, port: int) -> None:
    tokens = TokenFile(tmp_path / "tokens.json")
    secret, reader = tokens.add("anna", Role.ADMIN), tokens.add("bert", Role.READER)
    folder = default_audit_folder()
    with served(tokens, port) as url:
        header = {"Authorization": f"Bearer {secret}"}
        for method, path in ACCESS:
            reply = requests.request(
                method, url + path.replace("{", "").replace("}", "") + f"?image={STUDY}", headers=header
            )
            recorded = [line["request_id"] for line in lines(folder)]
            entry = find(method, path)
            changes = entry.role is not None and method not in READING and "heartbeat" not in path
            hands_out = method == "GET" and path in DOWNLOADS
            times = 2 if changes else 1 if hands_out else 0
            assert recorded.count(reply.headers["X-Request-ID"]) == times, (method, path)
        looked = requests.get(f"{url}/session/x", headers=header).headers["X-Request-ID"]
        assert looked not in [line["request_id"] for line in lines(folder)]
        requests.delete(f"{url}/datastore/image?id={STUDY}", headers={"Authorization": f"Bearer {reader}"})
        for _ in range(5):
            requests.get(f"{url}/info/", headers={"Authorization": f"Bearer {STUDY}"})
    written = lines(folder)
    by_route = {line.get("route"): line for line in written}
    upload = by_route["PUT /datastore/label"]
    assert (upload["action"], upload["outcome"], upload["token"], upload["role"]) == (
        *("label-written", "done", "anna", "admin"),
    )
    assert by_route["DELETE /batch/infer"]["outcome"] == "failed"
    *_, removal, refused = written
    assert (removal["action"], removal["outcome"], removal["token"]) == ("image-removed", "refused", "bert")
    assert removal["study"] == upload["study"]
    assert (refused["action"], refused["token"]) == ("login-refused", None)
    assert [line["action"] for line in written].count("login-refused") == 1
    assert STUDY not in "".join(path.read_text() for path in AuditLog(folder).files())
    assert verify_audit_log(folder).findings == ()


def test_a_change_whose_client_has_left_is_recorded(tmp_path: Path) -> None:
    async def without_answer(scope, *_) -> None:
        scope["state"]["caller"] = Caller("anna", Role.ADMIN)

    recorder = Recorder(AuditLog(tmp_path / "audit"))
    frame = RequestFrame(without_answer, Metrics(), recorder)
    scope = {"type": "http", "method": "DELETE", "path": "/datastore/image", "query_string": b"id=a"}
    asyncio.run(frame(scope, None, None))
    recorder._thread.shutdown()
    (line,) = lines(tmp_path / "audit")
    assert (line["action"], line["outcome"], line["status"]) == ("image-removed", "failed", 0)


def test_a_change_without_a_name_of_its_own_is_recorded() -> None:
    scope = {"state": {"caller": Caller("anna", Role.READER)}}
    event = event_of(scope, Entry("POST", "/new", Role.READER), 200)
    assert event is not None
    assert (event.action, event.token) == ("changed", "anna")
    assert event_of(scope, Entry("GET", "/new", Role.READER), 200) is None


def test_strangers_cannot_fill_the_log() -> None:
    now = [0.0]
    logins = RefusedLogins(lambda: now[0])
    events = [logins.event_of({}, 401) for _ in range(100)]
    assert [event is not None for event in events] == [True] + [False] * 99
    now[0] = 61.0
    assert logins.event_of({}, 200) is None
    event = logins.event_of({}, 401)
    assert event is not None
    assert event.facts["others_since_last_line"] == 99


def test_requests_from_foreign_pages_leave_no_line(tmp_path: Path, port: int) -> None:
    with served(TokenFile(tmp_path / "tokens.json"), port) as url:
        assert requests.delete(f"{url}/datastore/", headers={"Origin": "https://evil.example"}).status_code == 403
    assert not default_audit_folder().exists()


def damaged_folder() -> None:
    default_audit_folder().write_text("no folder")


def lost_key() -> None:
    AuditLog(default_audit_folder()).append("before")
    (default_audit_folder() / "key").unlink()


@pytest.mark.parametrize(
    ("damage", "status", "code"), [(damaged_folder, 507, "cannot-write"), (lost_key, 503, "server")]
)
def test_a_change_that_cannot_be_recorded_is_not_begun(
    tmp_path: Path, port: int, damage: Callable[[], None], status: int, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage()
    reached = []
    monkeypatch.setattr(module, "application", noting(reached))
    with served(TokenFile(tmp_path / "tokens.json"), port) as url:
        for method, path in ACCESS:
            if method in READING or "heartbeat" in path or ACCESS[method, path].role is None:
                continue
            reply = requests.request(method, url + path.replace("{", "").replace("}", ""))
            assert (reply.status_code, reply.json()["detail"]["code"]) == (status, code), (method, path)
        assert reached == []
        assert requests.get(f"{url}/datastore/image?image={STUDY}").status_code == 200
        assert reached == ["/datastore/image"]


def noting(reached: list[str]) -> Any:
    """The application, which notes the paths of the requests that it gets."""
    whole = module.application

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            reached.append(scope["path"])
        await whole(scope, receive, send)

    return application


def test_a_change_that_fills_the_disk_is_answered_and_its_beginning_stays(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = AuditLog.append

    def full_after_it(self: AuditLog, action: str, *, outcome: str = "done", **more: Any) -> None:
        if outcome != "begun":
            raise OutputError("The audit log cannot be written: full.", "Free disk space.")
        whole(self, action, outcome=outcome, **more)

    monkeypatch.setattr(AuditLog, "append", full_after_it)
    with served(TokenFile(tmp_path / "tokens.json"), port) as url:
        reply = requests.put(f"{url}/datastore/label?image={STUDY}")
    assert reply.status_code == 200
    (line,) = lines(default_audit_folder())
    assert (line["action"], line["outcome"], line["token"]) == ("label-written", "begun", "local")
    assert (line["request_id"], "status" in line) == (reply.headers["X-Request-ID"], False)
    assert line["study"] == AuditKey(default_audit_folder()).name(STUDY)
    assert "A line is missing in the audit log" in caplog.text


def test_actions_are_of_routes_that_exist() -> None:
    missing = {route for route in ACTIONS if route not in ACCESS}
    assert not missing, missing
