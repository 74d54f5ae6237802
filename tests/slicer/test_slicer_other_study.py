"""What belongs to one study or one server is never shown with, or sent to, another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import slicer
from fake_orders import Orders, connect, offer_of, replace_orders
from panel_tools import find_panel
from result_samples import add_chest, calibrated, demonstration, unlike, untrained, write_masks

OTHER = "http://127.0.0.1:8"


@pytest.fixture
def orders(module_widget: Any, monkeypatch: pytest.MonkeyPatch) -> Orders:
    return replace_orders(module_widget, monkeypatch)


@pytest.fixture
def panel(module_widget: Any) -> Any:
    return find_panel(module_widget)


@pytest.fixture
def volume(panel: Any) -> Any:
    node = add_chest("CT 1")
    panel.set_volume(node)
    return node


def answer(order: Any) -> None:
    """End a classification with a result."""
    files = {name: str(path) for name, path in write_masks(Path(order.content["folder"])).items()}
    order.done({"result": calibrated(), "files": files, "params": {}, "session_id": "s", "sha256": "0"})


def reach_other(panel: Any, **facts: Any) -> None:
    """Connect to another server, as after a test, which nobody agreed to send anything to."""
    panel.set_server(None)
    panel.set_server({"url": OTHER, "token": "u", "ca_file": None, "insecure_network": False}, offer_of(**facts))


def press_classify(panel: Any, press: Any) -> None:
    press(panel.section("Classify").ui.classifyButton)


@pytest.mark.parametrize("what", ["voxels", "position"])
def test_result_of_a_volume_that_was_changed_meanwhile_is_not_shown(
    panel: Any, volume: Any, orders: Any, press: Any, what: str
) -> None:
    connect(panel, offer_of())
    press_classify(panel, press)
    if what == "voxels":
        slicer.util.arrayFromVolume(volume)[3, 4, 5] += 1
    else:
        before = volume.GetOrigin()
        volume.SetOrigin(1.0, 2.0, 3.0)
    answer(orders.last)
    assert panel.shown is None
    assert "was changed while it was being classified" in panel.messages.text
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []
    if what == "position":
        volume.SetOrigin(*before)
    press_classify(panel, press)
    answer(orders.last)
    assert panel.shown.volume is volume


def test_renamed_volume_keeps_its_result(panel: Any, volume: Any, orders: Any, press: Any) -> None:
    connect(panel, offer_of())
    press_classify(panel, press)
    volume.SetName("CT 2")
    answer(orders.last)
    assert panel.shown.volume is volume


def test_consent_for_one_server_sends_nothing_to_another(panel: Any, volume: Any, orders: Any, press: Any) -> None:
    connect(panel, offer_of())
    panel.consent.withdraw(panel.server["url"])
    press_classify(panel, press)
    reach_other(panel)
    press(panel.ui.yesButton)
    assert orders.all == []
    assert panel.messages.text == "The server was changed: nothing was sent."
    press_classify(panel, press)
    assert "127.0.0.1:8?" in panel.ui.questionLabel.text


@pytest.mark.parametrize("kind", ["classify", "submit", "study_label_put"])
def test_nothing_is_sent_where_nobody_agreed(panel: Any, orders: Any, kind: str) -> None:
    from CovidBertLib.problems import CovidBertError

    reach_other(panel)
    with pytest.raises(CovidBertError, match="you have not agreed"):
        panel.start({"kind": kind}, done=lambda _result: None)
    assert orders.all == []


def test_upload_of_one_server_is_not_looked_for_at_another(panel: Any, volume: Any, orders: Any, press: Any) -> None:
    connect(panel, offer_of())
    press_classify(panel, press)
    connect(panel, offer_of(), OTHER)
    answer(orders.last)
    press_classify(panel, press)
    again = [order for order in orders.all if order.content["kind"] == "classify"][-1]
    assert again.content["session_id"] is None


def test_batch_ends_where_the_server_is_changed(panel: Any, volume: Any, orders: Any, wait_until: Any) -> None:
    add_chest("CT 2")
    connect(panel, offer_of())
    batch = panel.section("Batch")
    batch.opener.collapsed = False
    batch.list_again()
    batch.ui.runButton.click()
    connect(panel, offer_of(), OTHER)
    answer(orders.last)
    wait_until(lambda: not batch.is_running)
    assert {order.content["server"]["url"] for order in orders.all} == {"http://127.0.0.1:9"}
    assert orders.kinds().count("classify") == 1
    assert [row.message for row in batch.rows] == ["", "Not tried: the server was changed."]


def test_study_label_and_outcome_stay_with_their_study(
    panel: Any, volume: Any, orders: Any, press: Any, tmp_path: Path
) -> None:
    from CovidBertLib import result, scene

    other = add_chest("CT 2")
    for node in (volume, other):
        scene.show(node, result.parse(calibrated()), write_masks(tmp_path))
    connect(panel, offer_of())
    correct = panel.section("Correct")
    correct.opener.collapsed = False
    panel.set_volume(volume)
    press(correct.ui.startButton)
    correct.ui.classSelector.setCurrentIndex(1)
    correct.ui.commentEdit.text = "of the first study"
    press(correct.ui.submitButton)
    panel.set_volume(other)
    orders.last.done({"image": "ct-1", "version": 3, "author": "anna", "study_label_version": 1})
    assert correct.label_form.label() is None
    assert correct.ui.commentEdit.text == ""
    assert "version 3" not in correct.ui.stateLabel.text
    panel.set_volume(volume)
    assert "version 3" in correct.ui.stateLabel.text


def test_mask_is_not_sent_where_another_study_was_chosen_before_the_answer(
    panel: Any, volume: Any, orders: Any, press: Any, tmp_path: Path
) -> None:
    from CovidBertLib import result, scene

    other = add_chest("CT 2")
    for node in (volume, other):
        scene.show(node, result.parse(calibrated()), write_masks(tmp_path))
    connect(panel, offer_of())
    panel.consent.withdraw(panel.server["url"])
    correct = panel.section("Correct")
    correct.opener.collapsed = False
    for node in (other, volume):
        panel.set_volume(node)
        press(correct.ui.startButton)
    press(correct.ui.submitButton)
    panel.set_volume(other)
    press(panel.ui.yesButton)
    assert orders.all == []


def test_study_of_another_server_is_not_taken_for_one_of_this(panel: Any, orders: Any) -> None:
    connect(panel, offer_of())
    worklist = panel.section("Worklist")
    worklist._open("ct-1")
    asked = orders.last
    connect(panel, offer_of(), OTHER)
    asked.done({"image": "ct-1", "file": str(Path(asked.content["folder"]) / "study.nrrd")})
    assert panel.volume is None
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") == []
    assert worklist._task is None


def test_training_is_started_only_where_it_was_asked_about(panel: Any, orders: Any, press: Any) -> None:
    facts = {"trainers": {"lungs": {}}, "roles": ["admin"]}
    connect(panel, offer_of(**facts))
    train = panel.section("Train")
    train.opener.collapsed = False
    press(train.ui.refreshButton)
    asked = orders.last
    press(train.ui.startButton)
    reach_other(panel, **facts)
    press(panel.ui.yesButton)
    assert orders.kinds() == ["weights", "train_status"]
    assert panel.messages.text == "The server was changed: nothing was done."
    asked.done({"status": {"status": "RUNNING", "request": {"model": "lungs"}, "details": [], "start_ts": "1"}})
    assert "runs since" not in train.ui.stateLabel.text


def test_token_goes_to_no_other_server_where_a_button_takes_no_focus(panel: Any, orders: Any, press: Any) -> None:
    connect = panel.section("Connect")
    connect.ui.tokenEdit.text = "token-of-the-first"
    connect._store_token()
    connect.ui.addressEdit.text = OTHER  # and no editingFinished(), as on macOS
    press(connect.ui.testButton)
    assert orders.last.content["server"] == {
        "url": OTHER,
        "token": None,
        "ca_file": None,
        "insecure_network": False,
    }
    assert panel.tokens.token(OTHER) == ""


def test_a_result_says_that_its_volume_was_changed_later(
    panel: Any, module_widget: Any, volume: Any, press: Any, tmp_path: Path
) -> None:
    from CovidBertLib import result, scene

    scene.show(volume, result.parse(calibrated()), write_masks(tmp_path))
    panel.set_volume(volume)
    report = panel.section("Report")
    report.opener.collapsed = False
    report.ui.folderEdit.currentPath = str(tmp_path)
    bundle = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(bundle)
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(bundle)
    module_widget.enter()
    assert panel.shown is not None
    assert "was changed" not in panel.messages.text
    slicer.util.arrayFromVolume(panel.volume)[:] = -1000
    module_widget.enter()
    assert "was changed after it was classified" in panel.messages.text
    panel.messages.clear()
    press(report.ui.saveButton)
    assert "was changed after it was classified" in panel.messages.text
    assert not list(tmp_path.glob("*.pdf"))


def test_key_for_evidence_passes_slices_without_a_score(panel: Any, volume: Any, tmp_path: Path) -> None:
    from CovidBertLib import result, scene, views

    document = calibrated()
    scored = document["slice_evidence"][7]
    for evidence in document["slice_evidence"]:
        evidence["score"] = 0.5 if evidence is scored else None
    scene.show(volume, result.parse(document), write_masks(tmp_path))
    panel.set_volume(volume)
    panel.section("Help").next_evidence()
    assert views.shown_slice(volume) == scored["index"]


def test_views_show_the_result_that_the_card_is_of(panel: Any, volume: Any, tmp_path: Path) -> None:
    from CovidBertLib import overlay, result, scene

    older, newer = (scene.show(volume, result.parse(calibrated()), write_masks(tmp_path)) for _number in range(2))
    overlay.show_overlay(volume, newer.location)
    panel.set_volume(volume)
    panel.section("Result").ui.resultSelector.setCurrentIndex(1)
    assert panel.shown.record is older.record
    assert older.lungs.GetDisplayNode().GetVisibility()
    assert not newer.lungs.GetDisplayNode().GetVisibility()
    assert overlay.overlay_shown(older.location)
    assert not overlay.overlay_shown(newer.location)


@pytest.mark.parametrize(
    ("document", "words"),
    [(demonstration, "DEMONSTRATION"), (untrained, "UNTRAINED"), (unlike, "UNLIKE THE TRAINING")],
)
def test_a_row_of_a_batch_says_what_its_numbers_are_not(
    panel: Any, volume: Any, orders: Any, document: Any, words: str
) -> None:
    connect(panel, offer_of())
    batch = panel.section("Batch")
    batch.list_again()
    batch.ui.runButton.click()
    orders.last.done({"result": document(), "files": {}, "params": {}, "session_id": "s", "sha256": "0"})
    assert batch.ui.batchTable.item(0, 1).text() == f"done · {words}"
