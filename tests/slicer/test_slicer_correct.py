"""Correct and submit: the automatic mask stays, the correction is compared, checked and sent, and never lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from fake_orders import Orders, connect, offer_of, replace_orders
from panel_tools import find_panel, python_slicer
from result_samples import add_chest, calibrated, write_masks

__all__ = ["python_slicer"]

RIGHT, LEFT = "CovidBert_right_lung", "CovidBert_left_lung"


@pytest.fixture
def orders(module_widget: Any, monkeypatch: pytest.MonkeyPatch) -> Orders:
    return replace_orders(module_widget, monkeypatch)


@pytest.fixture
def panel(module_widget: Any) -> Any:
    panel = find_panel(module_widget)
    panel.section("Correct").opener.collapsed = False
    return panel


@pytest.fixture
def correct(panel: Any) -> Any:
    return panel.section("Correct")


@pytest.fixture
def volume(panel: Any, tmp_path: Path) -> Any:
    """A classified chest, chosen in the panel."""
    from CovidBertLib import result, scene

    node = add_chest("Doe, Jane")
    scene.show(node, result.parse(calibrated()), write_masks(tmp_path))
    panel.set_volume(node)
    return node


def labels(segmentation: Any, volume: Any, segment: str = RIGHT) -> np.ndarray:
    return slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment, volume)


def erase(segmentation: Any, volume: Any, segment: str = RIGHT, slices: slice = slice(0, 30)) -> None:
    """What the eraser does in the Segment Editor."""
    left = labels(segmentation, volume, segment).copy()
    left[slices] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(left, segmentation, segment, volume)


@pytest.fixture
def compare(correct: Any, press: Any, wait_until: Any, python_slicer: Path) -> Any:
    """Press Compare, and wait for the process beside Slicer."""

    def run() -> Any:
        press(correct.ui.compareButton)
        wait_until(lambda: not correct.is_busy, 300)
        return correct.ui.comparisonTable

    return run


def started(correct: Any, press: Any) -> Any:
    press(correct.ui.startButton)
    return correct.corrected


def test_section_says_what_is_missing(panel: Any, correct: Any) -> None:
    assert correct.ui.stateLabel.text == "Choose a volume in the section Study."
    panel.set_volume(add_chest())
    assert "Classify the study first" in correct.ui.stateLabel.text
    assert not correct.ui.startButton.isEnabled()
    assert not correct.ui.submitButton.isEnabled()
    assert correct.ui.authorLabel.text == "To submit, connect to a server."


def test_keys_of_the_editor_wait_for_a_correction(correct: Any, volume: Any, press: Any) -> None:
    # Qt lets a key of a widget that is not on show go on to others: Space presses buttons, as everywhere.
    shortcuts = slicer.util.findChildren(correct.panel.widget, className="QShortcut")
    keys = [shortcut for shortcut in shortcuts if shortcut.key.toString() == "Space"]
    assert keys
    assert not any(shortcut.parent().isVisible() for shortcut in keys)
    started(correct, press)
    assert all(shortcut.parent().isVisible() for shortcut in keys)


def test_correction_is_a_copy_under_the_volume(panel: Any, correct: Any, volume: Any, press: Any) -> None:
    automatic = panel.shown.lungs
    before = labels(automatic, volume).copy()
    corrected = started(correct, press)
    assert corrected is not automatic
    assert np.array_equal(labels(corrected, volume), before)
    erase(corrected, volume)
    assert not np.array_equal(labels(corrected, volume), before)
    assert np.array_equal(labels(automatic, volume), before)
    assert not automatic.GetDisplayNode().GetVisibility()
    assert (
        corrected.GetSegmentation().GetSegment(RIGHT).GetColor()
        == automatic.GetSegmentation().GetSegment(RIGHT).GetColor()
    )
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(corrected)) == hierarchy.GetItemByDataNode(volume)
    editor = correct.ui.editor
    assert editor.isVisible()
    assert (editor.segmentationNode(), editor.sourceVolumeNode()) == (corrected, volume)
    assert not correct.ui.startButton.isVisible()


def test_comparison_is_told_and_forgotten_with_the_mask(
    panel: Any, correct: Any, volume: Any, press: Any, compare: Any
) -> None:
    corrected = started(correct, press)
    assert not correct.ui.comparisonTable.isVisible()
    table = compare()
    assert [table.item(row, 1).text() for row in range(2)] == ["1.000", "1.000"]
    wanted = labels(corrected, volume).copy()
    erase(corrected, volume, slices=slice(20, 24))
    wanted = wanted != labels(corrected, volume)
    compare()
    cells = [[table.item(row, column).text() for column in range(table.columnCount)] for row in range(2)]
    assert cells[0][0] == "right lung"
    assert 0.5 < float(cells[0][1]) < 1.0
    assert "(-" in cells[0][2]
    assert float(cells[0][4]) > 0.0
    assert cells[1][1:2] + cells[1][3:] == ["1.000", "0.00", "0.00"]
    assert correct.ui.comparisonLabel.text.startswith(f"{np.count_nonzero(wanted)} voxels differ")
    assert "Edited since" not in correct.ui.comparisonLabel.text
    assert list(panel.work.iterdir()) == []
    correct.ui.maskSelector.setCurrentIndex(1)
    assert not table.isVisible()
    assert "lungs only" in correct.ui.stateLabel.text


def test_correction_is_found_again_in_a_saved_scene(
    panel: Any, correct: Any, volume: Any, press: Any, tmp_path: Path
) -> None:
    corrected = started(correct, press)
    erase(corrected, volume)
    wanted = labels(corrected, volume).copy()
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    assert panel.volume is None
    assert correct.corrected is None
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert panel.volume.GetName() == "Doe, Jane"
    assert np.array_equal(labels(correct.corrected, panel.volume), wanted)
    assert correct.ui.editor.segmentationNode() is correct.corrected


def test_first_submission_sends_study_mask_and_label(
    panel: Any, correct: Any, volume: Any, press: Any, orders: Any
) -> None:
    connect(panel, offer_of())
    erase(started(correct, press), volume)
    assert "under the name anna" in correct.ui.authorLabel.text
    correct.ui.classSelector.setCurrentIndex(1)
    correct.ui.certaintySelector.setCurrentIndex(1)
    correct.ui.commentEdit.text = "  both bases "
    press(correct.ui.submitButton)
    order = orders.last
    assert order.content["kind"] == "submit"
    assert order.content["study_label"] == {"study_class": "covid", "certainty": "probable", "comment": "both bases"}
    assert (order.content["image"], order.content["tag"]) == (None, "final")
    mask = Path(order.content["mask"])
    assert Path(order.content["volume"]["raw"]).parent == mask.parent == Path(order.content["folder"])
    assert b"Doe" not in mask.read_bytes() + repr(order.content).encode()
    voxels = mask.read_bytes().partition(b"\n\n")[2]
    assert np.count_nonzero(np.frombuffer(voxels, np.uint8) == 1) == np.count_nonzero(labels(correct.corrected, volume))
    assert not correct.ui.submitButton.isEnabled()
    assert correct.ui.cancelButton.isVisible()
    order.progress("uploading", 0.5)
    assert correct.ui.progressBar.value == 50
    order.done({"image": "ct-1", "version": 3, "author": "anna", "study_label_version": 1})
    assert correct.ui.stateLabel.text == panel.messages.text == "Submitted as version 3 by anna."
    assert not mask.parent.exists()
    press(correct.ui.submitButton)
    assert (orders.last.content["image"], orders.last.content["volume"]) == ("ct-1", None)


def test_failure_loses_nothing(panel: Any, correct: Any, volume: Any, press: Any, orders: Any) -> None:
    connect(panel, offer_of())
    corrected = started(correct, press)
    erase(corrected, volume)
    wanted = labels(corrected, volume).copy()
    press(correct.ui.submitButton)
    orders.last.failed("connection-lost", image="ct-9")
    assert np.array_equal(labels(correct.corrected, volume), wanted)
    assert "unchanged in the scene" in correct.ui.stateLabel.text
    assert panel.messages.text == "It failed."
    press(correct.ui.submitButton)
    assert orders.last.content["image"] == "ct-9", "the study is not added twice"
    press(correct.ui.cancelButton)
    assert orders.last.is_cancelled
    orders.last.cancelled()
    assert "unchanged in the scene" in correct.ui.stateLabel.text
    press(correct.ui.submitButton)
    orders.last.failed("unreachable", image="ct-9", version=4)
    assert correct.ui.stateLabel.text == "The mask was saved on the server, the study label was not."


def test_volume_deleted_while_it_is_sent(panel: Any, correct: Any, volume: Any, press: Any, orders: Any) -> None:
    connect(panel, offer_of())
    started(correct, press)
    press(correct.ui.submitButton)
    slicer.mrmlScene.RemoveNode(volume)
    orders.last.done({"image": "ct-1", "version": 1, "author": "anna", "study_label_version": None})
    assert panel.messages.text == "Submitted as version 1 by anna."
    assert not correct.ui.submitButton.isEnabled()


def test_masks_that_are_wrong_are_not_sent(panel: Any, correct: Any, volume: Any, press: Any, orders: Any) -> None:
    connect(panel, offer_of())
    corrected = started(correct, press)
    right, left = (labels(corrected, volume, segment).copy() for segment in (RIGHT, LEFT))
    slicer.util.updateSegmentBinaryLabelmapFromArray(left, corrected, RIGHT, volume)
    slicer.util.updateSegmentBinaryLabelmapFromArray(right, corrected, LEFT, volume)
    press(correct.ui.submitButton)
    assert orders.all == []
    assert "swapped" in panel.messages.text
    assert list(panel.work.iterdir()) == []
    assert correct.ui.submitButton.isEnabled()


def test_who_may_not_write_is_told(panel: Any, correct: Any, volume: Any, press: Any) -> None:
    connect(panel, offer_of(roles=["reader"]))
    started(correct, press)
    assert not correct.ui.submitButton.isEnabled()
    assert "role annotator" in correct.ui.authorLabel.text


def test_study_label_alone(panel: Any, correct: Any, volume: Any, press: Any, orders: Any) -> None:
    from CovidBertLib import correction

    connect(panel, offer_of())
    correct.ui.classSelector.setCurrentIndex(3)
    assert not correct.ui.labelButton.isEnabled(), "the server does not know the study"
    correction.remember_image(volume, panel.server["url"], "study-7")
    panel.refresh()
    press(correct.ui.labelButton)
    label = {"study_class": "normal", "certainty": "certain", "comment": ""}
    assert orders.last.content["kind"] == "study_label_put"
    assert (orders.last.content["image"], orders.last.content["study_label"]) == ("study-7", label)
    orders.last.done({"version": 2, "author": "anna"})
    assert correct.ui.stateLabel.text == "Study label saved as version 2 by anna."


def test_study_is_known_at_its_own_server_only(volume: Any) -> None:
    from CovidBertLib import correction

    correction.remember_image(volume, "https://a.example/", "study-7")
    assert correction.image_of(volume, "https://a.example") == "study-7"
    assert correction.image_of(volume, "https://b.example") is None
    assert "a.example" not in str(volume)


def test_module_can_be_left_and_reloaded(module_widget: Any, correct: Any, volume: Any, press: Any) -> None:
    corrected = started(correct, press)
    module_widget.exit()
    module_widget.enter()
    slicer.mrmlScene.RemoveNode(corrected)
    assert correct.ui.startButton.isVisible()
    assert correct.ui.editor.segmentationNode() is None


def test_picture(
    panel: Any, correct: Any, volume: Any, press: Any, compare: Any, screenshot: Any, tmp_path: Path
) -> None:
    connect(panel, offer_of())
    erase(started(correct, press), volume, slices=slice(20, 24))
    compare()
    assert screenshot(correct.opener, tmp_path / "correct.png").stat().st_size > 5000
