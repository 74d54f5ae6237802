"""Section "Study", pressed as a person would: consent, one button, progress, cancel, results as nodes, shortcuts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import slicer
from mrml_samples import add_volume, hounsfield, oblique, orientations
from panel_server import TOKEN, PanelServer, panel_server
from panel_tools import find_panel


@pytest.fixture
def server() -> Iterator[PanelServer]:
    with panel_server() as running:
        yield running


@pytest.fixture
def panel(module_widget: Any) -> Any:
    return find_panel(module_widget)


@pytest.fixture
def ui(panel: Any) -> Any:
    return panel.section("Classify").ui


@pytest.fixture
def connected(panel: Any, server: PanelServer, press: Any, wait_until: Any) -> Any:
    form = panel.section("Connect").ui
    form.addressEdit.text = server.url
    form.addressEdit.editingFinished.emit()
    form.tokenEdit.text = TOKEN
    press(form.testButton)
    wait_until(lambda: panel.server is not None, 120)
    return panel


@pytest.fixture
def chest(scene: Any) -> Any:
    return add_volume(oblique(orientations()[7]), hounsfield(), "Thorax")


@pytest.fixture
def classify(connected: Any, ui: Any, chest: Any, press: Any, wait_until: Any) -> Callable[[], None]:
    """Choose the volume, press Classify, agree where that is asked, wait for the end."""

    def run() -> None:
        ui.volumeSelector.setCurrentNode(chest)
        press(ui.classifyButton)
        if connected.ui.questionFrame.isVisible():
            press(connected.ui.yesButton)
        wait_until(lambda: connected.jobs.all() == [], 120)

    return run


def said(panel: Any) -> str:
    return f"{panel.ui.messageLabel.text} {panel.ui.hintLabel.text}" if panel.ui.messageFrame.isVisible() else ""


def test_button_says_what_is_missing(panel, ui, scene, server, press, wait_until) -> None:
    assert not ui.classifyButton.isEnabled()
    assert "Test connection" in ui.reasonLabel.text
    panel.set_server({"url": server.url, "token": TOKEN}, {"models": {}})
    assert "no model" in ui.reasonLabel.text
    models = {"covid_s1": {"type": "classification", "description": ""}, "lungs": {"type": "segmentation"}}
    panel.set_server({"url": server.url, "token": TOKEN}, {"models": models})
    assert [ui.modelComboBox.itemText(index) for index in range(ui.modelComboBox.count)] == ["covid_s1"]
    assert "Choose a chest CT volume" in ui.reasonLabel.text
    few = add_volume(orientations()[0], hounsfield()[:5], "few")
    ui.volumeSelector.setCurrentNode(few)
    assert "slices" in ui.reasonLabel.text
    ui.volumeSelector.setCurrentNode(add_volume(orientations()[0], hounsfield(), "good"))
    assert ui.classifyButton.isEnabled()
    assert not ui.reasonLabel.isVisible()


def test_classified_volume_is_shown_and_uploaded_once(connected, ui, chest, classify, server, scene) -> None:
    classify()
    assert said(connected).startswith("Thorax was classified.")
    shown = connected.shown
    assert (shown.volume, shown.location, shown.lesions) == (chest, None, None)
    assert shown.lungs.GetSegmentation().GetNumberOfSegments() == 2
    assert connected.shown_result.predicted_class == server.result["predicted_class"]
    assert ui.classifyButton.text == "Classify"
    assert not ui.progressBar.isVisible()
    assert len(server.sessions) == 1
    classify()
    assert len(server.sessions) == 1, "the volume is not uploaded again"
    assert len(server.orders) == 2
    assert connected.shown.lungs is not shown.lungs, "what was edited is not overwritten"
    assert shown.lungs.GetScene() is scene
    assert list(connected.work.iterdir()) == [], "no file is left"


def test_nothing_is_sent_before_the_user_agreed_for_this_host(connected, ui, chest, server, press, wait_until) -> None:
    ui.volumeSelector.setCurrentNode(chest)
    press(ui.classifyButton)
    host = server.url.removeprefix("http://")
    assert host in connected.ui.questionLabel.text
    press(connected.ui.noButton)
    assert not connected.ui.questionFrame.isVisible()
    assert "Nothing was sent" in said(connected)
    assert (server.sessions, connected.jobs.all()) == ({}, [])
    press(ui.classifyButton)
    press(connected.ui.yesButton)
    wait_until(lambda: connected.shown is not None, 120)
    press(ui.classifyButton)
    assert not connected.ui.questionFrame.isVisible(), "asked once"
    wait_until(lambda: connected.jobs.all() == [], 120)
    assert connected.settings.consents() == [host]
    form = connected.section("Connect")
    form.opener.collapsed = False
    wait_until(form.ui.withdrawButton.isVisible)
    press(form.ui.withdrawButton)
    press(ui.classifyButton)
    assert connected.ui.questionFrame.isVisible(), "asked again after it was taken back"


def test_name_of_the_patient_is_not_sent(connected, chest, classify, server) -> None:
    chest.SetName("Meier^Anna")
    chest.SetAttribute("DICOM.PatientName", "Meier^Anna")
    classify()
    (name, content), *_ = server.sessions.values()
    assert "Meier" not in name
    assert b"Meier" not in content
    assert all(b"Meier" not in order for order in server.orders)


def test_stage_and_percent_are_shown_and_slicer_stays_usable(
    connected, ui, chest, press, server, wait_until, scene
) -> None:
    server.holds = True
    ui.volumeSelector.setCurrentNode(chest)
    connected.consent.give(server.url)
    press(ui.classifyButton)
    assert ui.classifyButton.text == "Cancel"
    wait_until(lambda: ui.stageLabel.text.startswith("Waiting for the server"), 120)
    wait_until(lambda: server.jobs != {}, 120)
    job = next(iter(server.jobs.values()))
    job.update(state="running", stage="clips", fraction=0.6, place=None, seconds_left=130.0)
    wait_until(lambda: ui.stageLabel.text == "Analysing groups of slices, about 2 min left", 60)
    assert ui.progressBar.value == 60
    add_volume(orientations()[0], hounsfield(), "another")
    slicer.app.processEvents()
    assert connected.jobs.running(chest) is not None, "the scene can be worked in meanwhile"
    server.holds = False
    wait_until(lambda: connected.shown is not None, 120)


def test_cancel_ends_the_job_here_and_there(connected, ui, chest, press, server, wait_until) -> None:
    server.holds = True
    ui.volumeSelector.setCurrentNode(chest)
    connected.consent.give(server.url)
    press(ui.classifyButton)
    wait_until(lambda: server.jobs != {}, 120)
    press(ui.classifyButton)
    assert (ui.classifyButton.isEnabled(), ui.stageLabel.text) == (False, "Cancelling")
    wait_until(lambda: connected.jobs.all() == [], 60)
    assert "Cancelled" in said(connected)
    wait_until(lambda: [job["state"] for job in server.jobs.values()] == ["cancelled"], 60)
    server.holds = False
    press(ui.classifyButton)
    wait_until(lambda: connected.shown is not None, 120)
    assert len(server.sessions) == 1, "the upload was kept"


def test_cancel_at_once(connected, ui, chest, press, server, wait_until) -> None:
    ui.volumeSelector.setCurrentNode(chest)
    connected.consent.give(server.url)
    press(ui.classifyButton)
    press(ui.classifyButton)
    wait_until(lambda: connected.jobs.all() == [], 60)
    assert connected.shown is None
    assert "Cancelled" in said(connected)
    wait_until(lambda: list(connected.work.iterdir()) == [], 60)


def test_two_requests_at_once(connected, ui, chest, press, server, wait_until) -> None:
    server.holds = True
    connected.consent.give(server.url)
    other = add_volume(orientations()[0], hounsfield(9), "Follow-up")
    ui.volumeSelector.setCurrentNode(chest)
    press(ui.classifyButton)
    connected.section("Classify").classify()
    assert "already being classified" in said(connected)
    assert len(connected.jobs.all()) == 1
    ui.volumeSelector.setCurrentNode(other)
    assert ui.othersLabel.text == "Also being classified: Thorax."
    press(ui.classifyButton)
    assert len(connected.jobs.all()) == 2, "another volume may be classified beside it"
    wait_until(lambda: len(server.jobs) == 2, 120)
    server.holds = False
    wait_until(lambda: connected.jobs.all() == [], 120)
    assert connected.shown.volume is other
    ui.volumeSelector.setCurrentNode(chest)
    assert connected.shown.volume is chest, "each result is at its volume"


def test_choice_is_kept_with_the_scene(connected, ui, chest, classify, server, tmp_path, wait_until) -> None:
    ui.modelComboBox.setCurrentIndex(1)
    classify()
    assert json.loads(server.orders[-1])["model"] == "covid_s2"
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(0)
    assert (connected.volume, connected.shown) == (None, None)
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    wait_until(lambda: connected.volume is not None)
    assert connected.volume.GetName() == "Thorax"
    assert connected.shown_result.predicted_class == server.result["predicted_class"]
    assert connected.model == "covid_s2"


def test_shortcuts_are_listed_and_work(connected, chest, wait_until) -> None:
    section = connected.section("Help")
    for shortcut in section._shortcuts:
        assert shortcut.key.toString() in section.ui.shortcutsLabel.text
    start, _evidence, overlays = section._shortcuts
    overlays.activated.emit()
    assert "no result" in said(connected)
    connected.consent.give(connected.server["url"])
    connected.section("Classify").ui.volumeSelector.setCurrentNode(chest)
    start.activated.emit()
    assert len(connected.jobs.all()) == 1
    wait_until(lambda: connected.shown is not None, 120)
    display = connected.shown.lungs.GetDisplayNode()
    overlays.activated.emit()
    assert not display.GetVisibility()
    overlays.activated.emit()
    assert display.GetVisibility()


def test_next_evidence_goes_from_the_strongest_down(panel, chest, scene, monkeypatch) -> None:
    from mrml_samples import document_for

    from CovidBertLib import scene as nodes
    from CovidBertLib import views
    from CovidBertLib.result import parse

    panel.set_volume(chest)
    result = parse(document_for(chest))
    panel.set_shown(nodes.show(chest, result, {}))
    gone: list[int] = []
    monkeypatch.setattr(views, "jump_to_slice", lambda _volume, index: gone.append(index))
    key = panel.section("Help")._shortcuts[1]
    for _press in range(3):
        key.activated.emit()
    scores = {evidence.index: evidence.score for evidence in result.slices}
    assert [scores[index] for index in gone] == sorted(scores.values(), reverse=True)[:3]
    assert np.isfinite(scores[gone[0]])
