"""Section "Server", pressed as a person would: what is wrong with a connection, told apart, with what to do."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import slicer
from panel_tools import find_panel
from worker_process import scripted_server

TOKEN = scripted_server.TOKEN
reply, refusal, page, slow = (getattr(scripted_server, name) for name in ("reply", "refusal", "page", "slow"))
OFFER = {"models": {"covid_s1": {"type": "classification", "description": "Classifies a chest CT study: Slices."}}}
ANNA = {"username": "anna", "roles": ["reader", "annotator"]}


def good_script() -> dict[str, list[Any]]:
    return {
        "/version": [reply(200, scripted_server.VERSION)],
        "/readyz": [reply(200, {"status": "ready"})],
        "/auth/token/valid": [reply(200, ANNA)],
        "/info/": [reply(200, OFFER)],
    }


@pytest.fixture
def server() -> Iterator[scripted_server.Server]:
    with scripted_server.running() as running:
        running.script = good_script()
        yield running


@pytest.fixture
def panel(module_widget: Any) -> Any:
    return find_panel(module_widget)


@pytest.fixture
def connect(panel: Any) -> Any:
    return panel.section("Connect")


@pytest.fixture
def test(connect: Any, press: Any, wait_until: Any) -> Callable[..., None]:
    """Fill the fields in, press Test connection and wait for the answer."""

    def fill_and_press(url: str, token: str = TOKEN) -> None:
        type_into(connect.ui.addressEdit, url)
        type_into(connect.ui.tokenEdit, token)
        press(connect.ui.testButton)
        wait_until(lambda: connect.ui.testButton.text == "Test connection", 120)

    return fill_and_press


def type_into(edit: Any, text: str) -> None:
    edit.setFocus()
    edit.text = text
    edit.textEdited.emit(text)
    edit.editingFinished.emit()


def message(panel: Any) -> tuple[str, str]:
    assert panel.ui.messageFrame.isVisible()
    return panel.ui.messageLabel.text, panel.ui.hintLabel.text


def test_connection_is_told_and_the_section_closes_itself(panel, connect, test, server) -> None:
    assert not connect.opener.collapsed
    test(server.url)
    assert message(panel)[0] == "Connected to covid-bert 0.1.0 as anna (reader, annotator)."
    assert connect.opener.collapsed
    assert (connect.opener.text, panel.server["url"]) == ("Server: This computer", server.url)
    assert panel.offer["models"] == OFFER["models"]
    assert panel.section("Classify").ui.modelComboBox.currentText == "Slices"


def test_nothing_is_sent_before_the_button_is_pressed(panel, connect, server, wait_until) -> None:
    type_into(connect.ui.addressEdit, server.url)
    type_into(connect.ui.tokenEdit, TOKEN)
    wait_until(lambda: True)
    assert server.requests == []


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


FAULTS: dict[str, tuple[dict[str, list[Any]], str]] = {
    "other program": ({"/version": [page(200)]}, "is not a covid-bert server"),
    "other name": ({"/version": [reply(200, {"name": "other", "version": "0.1.0"})]}, "is not a covid-bert server"),
    "other version": ({"/version": [reply(200, {"name": "covid-bert", "version": "7.0"})]}, "version 7.0"),
    "wrong token": ({"/auth/token/valid": [refusal(401, "token-refused")]}, "token"),
    "full": ({"/info/": [refusal(503, "busy", {"Retry-After": "7"})]}, "busy"),
    "garbage": ({"/info/": [reply(200, b"{not json")]}, "answer"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_told_with_what_to_do(panel, connect, test, server, fault) -> None:
    script, words = FAULTS[fault]
    server.script.update(script)
    test(server.url)
    said, hint = message(panel)
    assert words in said, said
    assert hint
    assert panel.server is None
    assert not connect.opener.collapsed
    assert connect.ui.stateLabel.text == "Not connected."


def test_each_fault_has_words_of_its_own(panel, test, server) -> None:
    said = {}
    for fault, (script, _words) in FAULTS.items():
        server.script = {**good_script(), **script}
        test(server.url)
        said[fault] = message(panel)
    for fault, url in {"no URL": "server", "nobody there": closed_port(), "no host": "http://name.invalid:1"}.items():
        test(url)
        said[fault] = message(panel)
    server.script = {**good_script(), "/auth/token/valid": [refusal(401, "unauthorized")]}
    test(server.url, token="")
    said["no token"] = message(panel)
    assert all(hint for _text, hint in said.values()), said
    del said["other name"]
    assert len({text for text, _hint in said.values()}) == len(said), said


def test_silent_server_is_given_up_and_the_wait_can_be_cancelled(
    panel, connect, press, wait_until, server, monkeypatch
) -> None:
    server.script["/version"] = [slow(60, reply(200, scripted_server.VERSION))]
    type_into(connect.ui.addressEdit, server.url)
    press(connect.ui.testButton)
    wait_until(lambda: server.requests != [])
    assert connect.ui.testButton.text == "Cancel test"
    assert not connect.ui.addressEdit.isEnabled()
    press(connect.ui.testButton)
    wait_until(lambda: connect.ui.testButton.text == "Test connection", 60)
    assert panel.server is None
    start = panel.tasks.start
    monkeypatch.setattr(
        panel.tasks, "start", lambda order, **calls: start({**order, "server": {**order["server"], **SHORT}}, **calls)
    )
    press(connect.ui.testButton)
    wait_until(lambda: connect.ui.testButton.text == "Test connection", 60)
    said, hint = message(panel)
    assert "did not answer" in said or "in time" in said, said
    assert hint


SHORT = {"read_timeout": 0.5}


def test_server_that_is_not_ready_says_why(panel, connect, test, server) -> None:
    detail = {"code": "not-ready", "message": "The weights are missing.", "hint": "Fetch them.", "request_id": "r9"}
    server.script["/readyz"] = [reply(503, {"detail": detail})]
    test(server.url)
    said, hint = message(panel)
    assert "The weights are missing." in said
    assert hint == "Fetch them."
    assert not connect.opener.collapsed


def test_certificate_of_the_hospital_needs_its_ca_file(panel, connect, test, tmp_path) -> None:
    pytest.importorskip("cryptography", reason="makes the certificate")
    from certificates import make_certificate

    certificate, key = make_certificate(tmp_path)
    with scripted_server.running(certificate, key) as server:
        server.script = good_script()
        test(server.url)
        said, hint = message(panel)
        assert "certificate" in said
        assert "CA" in hint
        connect.ui.caFileEdit.currentPath = str(certificate)
        test(server.url)
    assert panel.server is not None, message(panel)
    assert panel.server["ca_file"] == str(certificate)


def test_http_to_another_machine_is_refused_until_it_is_allowed(panel, connect, test) -> None:
    test("http://192.0.2.1:8000")
    said, _hint = message(panel)
    assert "https" in said + _hint
    assert panel.settings.servers()[0].insecure is False


def test_list_of_servers_is_kept(panel, connect, press, wait_until) -> None:
    press(connect.ui.addServerButton)
    type_into(connect.ui.nameEdit, "Radiology")
    type_into(connect.ui.addressEdit, "https://radiology.example:8443/")
    type_into(connect.ui.tokenEdit, "secret-of-radiology")
    assert [server.name for server in panel.settings.servers()] == ["This computer", "Radiology"]
    slicer.util.reloadScriptedModule("CovidBert")
    again = slicer.modules.CovidBertWidget.panel.section("Connect").ui
    wait_until(again.removeServerButton.isVisible)
    assert again.serverComboBox.currentText == "Radiology"
    assert again.addressEdit.text == "https://radiology.example:8443"
    assert again.tokenEdit.text == "secret-of-radiology"
    again.serverComboBox.setCurrentIndex(0)
    assert (again.addressEdit.text, again.tokenEdit.text) == ("http://127.0.0.1:8000", "")
    again.serverComboBox.setCurrentIndex(1)
    press(again.removeServerButton)
    kept = slicer.modules.CovidBertWidget.panel
    assert [server.name for server in kept.settings.servers()] == ["This computer"]
    assert "secret-of-radiology" not in kept.tokens.path.read_text()


def test_token_of_one_server_is_never_sent_to_another(panel, connect, test, server) -> None:
    test(server.url)
    with scripted_server.running() as other:
        other.script = good_script()
        type_into(connect.ui.addressEdit, other.url)
        assert connect.ui.tokenEdit.text == ""
        assert panel.server is None, "what is set is not what was tested"
        press_test = connect.ui.testButton
        press_test.click()
        assert all(TOKEN not in str(request.headers) for request in other.requests)


@pytest.mark.parametrize("field", ["nameEdit", "caFileEdit", "insecureCheckBox", "tokenEdit"])
def test_token_stays_behind_whichever_field_is_left_first(panel, connect, test, server, field) -> None:
    """Another field can be stored before the address that was typed is, and takes the address with it."""
    test(server.url)
    connect.opener.collapsed = False
    with scripted_server.running() as other:
        other.script = good_script()
        connect.ui.addressEdit.text = other.url
        if field == "caFileEdit":
            connect.ui.caFileEdit.currentPath = "/other.pem"
        elif field == "insecureCheckBox":
            connect.ui.insecureCheckBox.click()
        else:
            getattr(connect.ui, field).editingFinished.emit()
        assert connect.ui.tokenEdit.text == ""
        assert panel.tokens.token(other.url) == ""
        assert panel.tokens.token(server.url) == TOKEN, "that of the first is kept for it"
        connect.ui.caFileEdit.currentPath = ""
        test(other.url, token=connect.ui.tokenEdit.text)
        assert other.requests
        assert all(TOKEN not in str(request.headers) for request in other.requests)


def test_token_is_nowhere_but_in_its_file(panel, connect, test, server, application, capfd, tmp_path) -> None:
    test(server.url)
    assert TOKEN in panel.tokens.path.read_text()
    settings = Path(application.slicerUserSettingsFilePath)
    application.userSettings().sync()
    assert TOKEN not in settings.read_text()
    assert slicer.util.saveScene(str(tmp_path / "scene.mrml"))
    assert TOKEN not in (tmp_path / "scene.mrml").read_text()
    assert TOKEN not in "".join(capfd.readouterr())
    assert connect.ui.tokenEdit.displayText != TOKEN, "others see the screen"
    if sys.platform != "win32":
        assert panel.tokens.path.stat().st_mode & 0o777 == 0o600
        assert panel.tokens.path.parent.stat().st_mode & 0o777 == 0o700
