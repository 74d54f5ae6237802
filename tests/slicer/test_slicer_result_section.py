"""The section with the result: every state of a result is shown, and its boxes and buttons move the views."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qt
import slicer
from panel_tools import find_panel
from result_samples import STATES, add_chest, calibrated, no_lesions, unfold, write_masks


@pytest.fixture
def panel(module_widget: Any) -> Any:
    return find_panel(module_widget)


@pytest.fixture
def ui(panel: Any) -> Any:
    return panel.section("Result").ui


@pytest.fixture
def show(panel: Any, tmp_path: Path) -> Callable[..., Any]:
    """``show(document, volume=None)``: show a result of a chest in the panel and the views."""
    from CovidBertLib import overlay, result, scene  # as the module has loaded them

    def put(document: dict[str, Any], volume: Any = None) -> Any:
        volume = volume or add_chest()
        shown = scene.show(volume, result.parse(document), write_masks(tmp_path))
        overlay.show_overlay(volume, shown.location)
        slicer.app.layoutManager().resetSliceViews()
        panel.set_volume(volume)
        return shown

    return put


def test_every_state_is_shown(panel: Any, ui: Any, show: Any, wait_until: Any, screenshot: Any, tmp_path: Path) -> None:
    assert ui.emptyLabel.isVisible()
    assert not ui.resultBox.isVisible()
    volume = add_chest()
    for state, document in ((state, make()) for state, make in STATES.items()):
        shown = show(document, volume)
        assert panel.shown.record is shown.record
        unfold(wait_until, panel)
        assert not ui.emptyLabel.isVisible()
        assert ui.cardResearchLabel.text == document["research_use_only"]
        assert ui.bannerLabel.isVisible() == (document["weights_state"] != "trained")
        assert ui.probabilityLabel.isVisible() == (document["calibrated_probability"] is not None)
        assert ui.agreementLabel.isVisible() == (state != "one_stage")
        assert ui.warningsLabel.isVisible() == (state in ("demonstration", "uncalibrated"))
        assert ui.measurementTable.rowCount == (5 if state == "no_lesions" else 8 if state == "no_geometry" else 12)
        screenshot(panel.section("Result").widget, tmp_path / f"{state}.png")
        assert no_text_is_cut(ui)


def no_text_is_cut(ui: Any) -> bool:
    """Whether all labels are as high as their text needs at their width."""
    labels = [value for name, value in vars(ui).items() if name.endswith("Label") and value.inherits("QLabel")]
    shown = [label for label in labels if label.isVisible() and label.hasHeightForWidth()]
    return bool(shown) and all(label.height >= label.heightForWidth(label.width) for label in shown)


def test_a_result_fits_a_panel_that_was_wider_before(panel: Any, ui: Any, show: Any, wait_until: Any) -> None:
    panel.widget.parentWidget().resize(640, 900)
    show(calibrated())
    unfold(wait_until, panel)
    for label in (ui.probabilityLabel, ui.scoresLabel):
        assert label.pixmap.width() == label.width
    table = ui.measurementTable
    assert all(table.rowHeight(place) >= table.sizeHintForRow(place) for place in range(table.rowCount))
    assert no_text_is_cut(ui)


def test_boxes_show_and_hide(ui: Any, show: Any, press: Any, render_slice: Any, tmp_path: Path) -> None:
    from CovidBertLib.overlay import overlay_shown

    shown = show(calibrated())
    press(ui.strongestButton)
    pictures = [render_slice("Green", tmp_path / "all.png").read_bytes()]
    for name in ("location", "lesions", "lungs"):
        box = getattr(ui, f"{name}Check")
        assert box.isChecked()
        box.click()
        pictures.append(render_slice("Green", tmp_path / f"{name}.png").read_bytes())
    assert len(set(pictures)) == 4
    assert not overlay_shown(shown.location)
    assert not shown.lungs.GetDisplayNode().GetVisibility()
    for name in ("location", "lesions", "lungs"):
        getattr(ui, f"{name}Check").click()
    assert render_slice("Green", tmp_path / "again.png").read_bytes() == pictures[0]


def test_boxes_follow_other_modules(ui: Any, show: Any) -> None:
    shown = show(calibrated())
    shown.lesions.GetDisplayNode().SetVisibility(False)
    assert not ui.lesionsCheck.isChecked()
    shown.lesions.GetDisplayNode().SetVisibility(True)
    assert ui.lesionsCheck.isChecked()
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        composite.SetForegroundVolumeID(None)
    assert not ui.locationCheck.isChecked()
    slicer.mrmlScene.RemoveNode(shown.lungs)
    assert not ui.lungsCheck.enabled
    assert ui.lesionsCheck.enabled


def test_the_slider_makes_the_map_transparent_below_it(ui: Any, show: Any) -> None:
    display = show(calibrated()).location.GetDisplayNode()
    assert ui.thresholdSlider.value == display.GetLowerThreshold() == 20
    ui.thresholdSlider.value = 65.0
    assert display.GetLowerThreshold() == 65
    display.SetThreshold(30, 100)
    assert ui.thresholdSlider.value == 30  # set by another module


def test_the_table_holds_the_measurements(panel: Any, ui: Any, show: Any) -> None:
    from CovidBertLib.measurements import rows

    show(calibrated())
    table = ui.measurementTable
    cells = [[table.item(row, column).text() for column in range(4)] for row in range(table.rowCount)]
    assert cells == [[row.name, *row.texts()] for row in rows(panel.shown_result)]


def test_an_older_result_can_be_chosen(panel: Any, ui: Any, show: Any) -> None:
    first = show(calibrated())
    assert not ui.resultChoice.isVisible()
    newer = no_lesions()
    newer["provenance"]["created"] = "2027-01-02T03:04:05Z"
    second = show(newer, first.volume)
    assert [ui.resultSelector.itemText(place) for place in range(2)] == [
        "2027-01-02 03:04 UTC, s1 (small)",
        "2026-11-21 21:56 UTC, s1 (small)",
    ]
    assert panel.shown.record is second.record
    assert ui.measurementTable.rowCount == 5
    ui.resultSelector.setCurrentIndex(1)
    assert panel.shown.record is first.record
    assert ui.measurementTable.rowCount == 12
    slicer.mrmlScene.RemoveNode(first.record)
    assert panel.shown.record is second.record
    assert not ui.resultChoice.isVisible()


def test_weights_are_folded_away(panel: Any, ui: Any, show: Any, press: Any) -> None:
    document = calibrated()
    show(document)
    assert not ui.originLabel.isVisible()
    press(ui.originButton)
    assert ui.originLabel.isVisible()
    for weights in document["provenance"]["weights"]:
        assert f"{weights['name']} {weights['version']}" in ui.originLabel.text
        assert weights["trained_on"] in ui.originLabel.text


def test_what_the_server_says_is_not_taken_for_markup(ui: Any, show: Any) -> None:
    document = calibrated()
    document["warnings"] = ["<b>bold</b> <img src='http://127.0.0.1:9/x'>"]
    show(document)
    assert ui.warningsLabel.text == document["warnings"][0]
    labels = [value for name, value in vars(ui).items() if name.endswith("Label") and value.inherits("QLabel")]
    texts = [
        label for label in labels if label.text and label.objectName not in ("resultChoiceLabel", "thresholdLabel")
    ]
    assert texts
    assert all(label.textFormat == qt.Qt.PlainText for label in texts)


def test_a_closed_scene_and_a_deleted_volume_leave_an_empty_section(panel: Any, ui: Any, show: Any) -> None:
    shown = show(calibrated())
    slicer.mrmlScene.RemoveNode(shown.volume)
    assert ui.emptyLabel.isVisible()
    show(calibrated())
    assert ui.resultBox.isVisible()
    slicer.mrmlScene.Clear(0)
    assert ui.emptyLabel.isVisible()
    show(calibrated())
    assert ui.resultBox.isVisible()
    assert panel.section("Result").evidence.chart is not None


def test_a_saved_scene_brings_the_card_back(panel: Any, ui: Any, show: Any, tmp_path: Path) -> None:
    show(calibrated())
    assert slicer.util.saveScene(str(tmp_path / "study.mrb"))
    slicer.mrmlScene.Clear(0)
    assert ui.emptyLabel.isVisible()
    slicer.util.loadScene(str(tmp_path / "study.mrb"))
    assert ui.headingLabel.text == "Probability of COVID-19: 76 %"
    assert ui.lungsCheck.isChecked()
    assert np.count_nonzero(slicer.util.arrayFromVolume(panel.shown.location))
