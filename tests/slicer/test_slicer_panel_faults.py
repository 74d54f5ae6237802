"""What goes wrong while a volume is classified: no lost edit, no frozen window, a message that says what to do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import slicer
from mrml_samples import add_volume, hounsfield, orientations
from panel_server import TOKEN, PanelServer, panel_server
from panel_tools import find_panel

CLASSIFIED = "was classified"


@pytest.fixture
def server() -> Iterator[PanelServer]:
    with panel_server() as running:
        yield running


@pytest.fixture
def chest(scene: Any) -> Any:
    return add_volume(orientations()[0], hounsfield(), "Thorax")


@pytest.fixture
def panel(module_widget: Any, server: PanelServer, chest: Any, press: Any, wait_until: Any) -> Any:
    """Connected, with a volume, and with the user's consent."""
    panel = find_panel(module_widget)
    connect(panel, server, press, wait_until)
    panel.consent.give(server.url)
    panel.section("Classify").ui.volumeSelector.setCurrentNode(chest)
    return panel


def connect(panel: Any, server: PanelServer, press: Any, wait_until: Any) -> None:
    form = panel.section("Connect").ui
    form.addressEdit.text = server.url
    form.addressEdit.editingFinished.emit()
    form.tokenEdit.text = TOKEN
    press(form.testButton)
    wait_until(lambda: panel.server is not None, 120)


@pytest.fixture
def edited(panel: Any, press: Any, wait_until: Any) -> Any:
    """The lungs of a first result, which the user has edited."""
    press(panel.section("Classify").ui.classifyButton)
    wait_until(lambda: panel.jobs.all() == [], 120)
    lungs = panel.shown.lungs
    lungs.GetSegmentation().GetNthSegment(0).SetName("edited by hand")
    return lungs


@pytest.fixture
def running(panel: Any, edited: Any, server: PanelServer, press: Any, wait_until: Any) -> Any:
    """A second classification that the server has begun and does not end."""
    server.holds = True
    press(panel.section("Classify").ui.classifyButton)
    wait_until(lambda: len(server.jobs) == 2, 120)
    return panel


def said(panel: Any) -> str:
    return f"{panel.ui.messageLabel.text} {panel.ui.hintLabel.text}" if panel.ui.messageFrame.isVisible() else ""


def check_failed(panel: Any, edited: Any, *words: str) -> None:
    """A message with a hint, and the user's work as it was."""
    assert panel.ui.messageFrame.isVisible()
    assert panel.ui.hintLabel.text, said(panel)
    assert any(word in said(panel) for word in words), said(panel)
    assert CLASSIFIED not in said(panel)
    assert edited.GetScene() is slicer.mrmlScene
    assert edited.GetSegmentation().GetNthSegment(0).GetName() == "edited by hand"
    assert panel.section("Classify").ui.classifyButton.text == "Classify"


def test_server_dies_midway(running, edited, server, wait_until, press) -> None:
    server.die()
    wait_until(lambda: running.jobs.all() == [], 120)
    check_failed(running, edited, "reached", "connection", "Connection")
    assert running.server is not None, "it may come back"
    assert running.section("Classify").ui.classifyButton.isEnabled()


def test_server_answers_garbage(running, edited, server, wait_until) -> None:
    server.answer = b"\x00 not a job"
    wait_until(lambda: running.jobs.all() == [], 120)
    check_failed(running, edited, "answer")


@pytest.mark.parametrize("result", [{"schema": "other"}, {"class_scores": "many"}, 5])
def test_result_is_garbage(running, edited, server, wait_until, result) -> None:
    server.result = result
    server.holds = False
    wait_until(lambda: running.jobs.all() == [], 120)
    check_failed(running, edited, "answer", "result")
    assert running.shown.lungs is edited


def test_server_changes_its_version(running, edited, server, wait_until, press) -> None:
    server.holds = False
    wait_until(lambda: running.jobs.all() == [], 120)
    running.messages.clear()
    server.version = "7.0.0"
    press(running.section("Classify").ui.classifyButton)
    wait_until(lambda: running.jobs.all() == [], 120)
    check_failed(running, edited, "version 7.0.0")
    assert running.server is None, "it has to be tested again"
    assert not running.section("Connect").opener.collapsed


def test_token_is_revoked(running, edited, server, wait_until) -> None:
    server.refusal = (401, "token-refused")
    wait_until(lambda: running.jobs.all() == [], 120)
    check_failed(running, edited, "token")
    assert running.server is None
    assert not running.section("Connect").opener.collapsed, "where a new token is entered"


def test_server_is_full(panel, edited, server, wait_until, press) -> None:
    server.refusal = (429, "busy")
    press(panel.section("Classify").ui.classifyButton)
    wait_until(lambda: panel.jobs.all() == [], 300)
    check_failed(panel, edited, "busy", "full")
    assert panel.server is not None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk without space is needed")
@pytest.mark.parametrize("file", ["volume.raw", "upload.nrrd"])
def test_disk_is_full(panel, edited, server, wait_until, press, monkeypatch, file) -> None:
    def full_folder() -> Path:
        path = make()
        (path / file).symlink_to("/dev/full")
        return path

    make = panel.new_folder
    monkeypatch.setattr(panel, "new_folder", full_folder)
    panel.uploads.clear()
    press(panel.section("Classify").ui.classifyButton)
    wait_until(lambda: panel.jobs.all() == [], 120)
    check_failed(panel, edited, "space")
    wait_until(lambda: list(panel.work.iterdir()) == [], 60)


def test_no_folder_can_be_made(panel, edited, press, tmp_path) -> None:
    panel.work = tmp_path / "gone"
    press(panel.section("Classify").ui.classifyButton)
    assert panel.jobs.all() == []
    check_failed(panel, edited, "folder")


def test_volume_is_deleted_while_it_is_classified(running, edited, server, chest, scene, wait_until) -> None:
    scene.RemoveNode(chest)
    wait_until(lambda: [job["state"] for job in server.jobs.values()] == ["done", "cancelled"], 60)
    assert running.jobs.all() == []
    assert "Thorax was removed from the scene" in said(running)
    assert running.volume is None
    assert edited.GetScene() is scene, "segmentations of a removed volume are the user's"
    wait_until(lambda: list(running.work.iterdir()) == [], 60)


def test_volume_is_deleted_while_consent_is_asked(panel, chest, scene, press, server) -> None:
    panel.consent.withdraw(server.url)
    press(panel.section("Classify").ui.classifyButton)
    scene.RemoveNode(chest)
    press(panel.ui.yesButton)
    assert panel.jobs.all() == []
    assert server.sessions == {}


def test_scene_is_closed(running, server, scene, wait_until) -> None:
    scene.Clear(0)
    assert (running.jobs.all(), running.volume, running.shown) == ([], None, None)
    assert "The scene was closed" in said(running)
    wait_until(lambda: [job["state"] for job in server.jobs.values()] == ["done", "cancelled"], 60)
    wait_until(lambda: list(running.work.iterdir()) == [], 60)
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []


def test_module_is_reloaded(running, edited, server, press, wait_until) -> None:
    work = running.work
    slicer.util.reloadScriptedModule("CovidBert")
    again = slicer.modules.CovidBertWidget.panel
    assert again is not running
    assert not work.exists()
    wait_until(lambda: [job["state"] for job in server.jobs.values()] == ["done", "cancelled"], 60)
    assert edited.GetSegmentation().GetNthSegment(0).GetName() == "edited by hand"
    assert again.volume.GetName() == "Thorax"
    assert again.shown.lungs is edited
    wait_until(again.section("Connect").ui.testButton.isVisible)
    connect(again, server, press, wait_until)
    server.holds = False
    press(again.section("Classify").ui.classifyButton)
    wait_until(lambda: CLASSIFIED in said(again), 120)


def test_reload_button_of_the_developer_mode(panel, module_widget, scene, wait_until) -> None:
    before = sys.modules["CovidBertLib.panel.context"]
    module_widget.onReload()
    assert sys.modules["CovidBertLib.panel.context"] is not before
    wait_until(slicer.modules.CovidBertWidget.panel.widget.isVisible)


def test_process_beside_slicer_cannot_be_started(panel, edited, application, wait_until, press) -> None:
    interpreter = Path(application.slicerHome) / "bin" / "PythonSlicer"
    interpreter.write_text("#!/bin/sh\nexit 3\n")
    press(panel.section("Classify").ui.classifyButton)
    wait_until(lambda: panel.jobs.all() == [], 60)
    check_failed(panel, edited, "ended without an answer")


def test_error_in_the_panel_is_said_and_nothing_stops(panel, edited, press, wait_until, monkeypatch) -> None:
    jobs = sys.modules["CovidBertLib.panel.jobs"]
    monkeypatch.setattr(jobs, "parse", lambda _document: 1 / 0)
    press(panel.section("Classify").ui.classifyButton)
    wait_until(lambda: panel.jobs.all() == [], 120)
    check_failed(panel, edited, "The panel failed: ZeroDivisionError")


def test_request_id_is_shown_for_the_log_of_the_server(panel, edited, server, press, wait_until) -> None:
    server.refusal = (422, "not-ct")
    press(panel.section("Classify").ui.classifyButton)
    wait_until(lambda: panel.jobs.all() == [], 120)
    check_failed(panel, edited, "It is not-ct.")
    assert panel.ui.requestLabel.text == "For the server's log: r1"
    press(panel.ui.closeMessageButton)
    assert not panel.ui.messageFrame.isVisible()
