"""Large volumes and masks are copied at one moment and written in pieces: the window lives, and no edit is mixed in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from fake_orders import Orders, connect, offer_of, replace_orders
from mask_tools import label_array
from panel_tools import find_panel, python_slicer
from result_samples import add_chest, calibrated, chest, write_masks

__all__ = ["python_slicer"]

RIGHT = "CovidBert_right_lung"


@pytest.fixture
def panel(module_widget: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A panel for which the chest is a large volume."""
    from CovidBertLib import pieces

    monkeypatch.setattr(pieces, "PIECE_BYTES", 20_000)
    panel = find_panel(module_widget)
    for name in ("Classify", "Correct"):
        panel.section(name).opener.collapsed = False
    return panel


@pytest.fixture
def orders(panel: Any, module_widget: Any, monkeypatch: pytest.MonkeyPatch) -> Orders:
    made = replace_orders(module_widget, monkeypatch)
    connect(panel, offer_of())
    return made


@pytest.fixture
def volume(panel: Any, tmp_path: Path) -> Any:
    from CovidBertLib import result, scene

    node = add_chest()
    scene.show(node, result.parse(calibrated()), write_masks(tmp_path))
    panel.set_volume(node)
    return node


@pytest.fixture
def corrected(panel: Any, volume: Any) -> Any:
    panel.section("Correct").ui.startButton.click()
    return panel.section("Correct").corrected


def erase(segmentation: Any, volume: Any, slices: slice) -> None:
    left = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, RIGHT, volume).copy()
    left[slices] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(left, segmentation, RIGHT, volume)


def follow(copies: Any, events: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Note when a copy is taken, and each piece that is written afterwards."""
    take, write = copies.take, copies.write

    def taken(self: Any) -> None:
        take(self)
        events.append("taken")

    def written(self: Any) -> Any:
        for size in write(self):
            events.append("piece")
            yield size

    monkeypatch.setattr(copies, "take", taken)
    monkeypatch.setattr(copies, "write", written)


def test_what_is_edited_between_the_pieces_is_not_mixed_in(
    panel: Any, volume: Any, orders: Orders, press: Any, wait_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from CovidBertLib import export

    events: list[str] = []
    follow(export.VolumeCopy, events, monkeypatch)
    press(panel.section("Classify").ui.classifyButton)
    wait_until(lambda: "piece" in events)
    assert orders.all == []
    assert panel.jobs.running(volume).progress.stage == "copying"
    assert panel.section("Classify").ui.stageLabel.text == "Copying"
    slicer.util.arrayFromVolume(volume)[:] = 7
    slicer.util.arrayFromVolumeModified(volume)
    wait_until(lambda: orders.all)
    assert events.count("taken") == 1
    assert events.count("piece") > 3
    given = orders.last.content["volume"]
    sent = np.fromfile(given["raw"], "<i2").reshape(given["header"]["sizes"][::-1])
    assert np.array_equal(sent, chest()[0])


def test_a_copy_can_be_cancelled(panel: Any, volume: Any, orders: Orders, press: Any, wait_until: Any) -> None:
    kept = {"session_id": "s", "sha256": "h"}
    panel.uploads.end(volume.GetID(), None, kept, panel.server, is_wanted=True)
    ui = panel.section("Classify").ui
    press(ui.classifyButton)
    assert panel.jobs.running(volume) is not None
    panel.jobs.cancel(volume)
    assert panel.jobs.running(volume) is None
    assert panel.messages.text == "Cancelled. Nothing was changed."
    assert list(panel.work.iterdir()) == []
    press(ui.classifyButton)
    wait_until(lambda: orders.all)
    assert len(orders.all) == 1
    assert orders.last.content["session_id"] == "s", "the server still has what was sent before"


def test_a_volume_that_goes_or_a_server_that_changes_ends_the_copy(
    panel: Any, volume: Any, orders: Orders, press: Any, wait_until: Any
) -> None:
    press(panel.section("Classify").ui.classifyButton)
    panel.set_server({**panel.server, "url": "http://127.0.0.1:8"}, offer_of())
    wait_until(lambda: panel.jobs.running(volume) is None)
    assert panel.messages.text == "The server was changed: nothing was sent."
    connect(panel, offer_of())
    press(panel.section("Classify").ui.classifyButton)
    slicer.mrmlScene.RemoveNode(volume)
    assert "was removed from the scene" in panel.messages.text
    assert panel.jobs.all() == []
    wait_until(lambda: list(panel.work.iterdir()) == [])
    assert orders.all == []


def test_a_mask_is_sent_as_it_was_when_it_was_copied(
    panel: Any, volume: Any, corrected: Any, orders: Orders, press: Any, wait_until: Any, monkeypatch: Any
) -> None:
    from CovidBertLib import masks

    events: list[str] = []
    follow(masks.MaskCopy, events, monkeypatch)
    erase(corrected, volume, slice(0, 20))
    wanted = label_array(corrected, volume)
    events.clear()
    press(panel.section("Correct").ui.submitButton)
    wait_until(lambda: "piece" in events)
    erase(corrected, volume, slice(20, 30))
    edited = label_array(corrected, volume)
    wait_until(lambda: orders.all)
    sent = Path(orders.last.content["mask"]).read_bytes().partition(b"\n\n")[2]
    assert np.array_equal(np.frombuffer(sent, np.uint8).reshape(wanted.shape), wanted)
    assert not np.array_equal(edited, wanted)
    assert np.array_equal(label_array(corrected, volume), edited), "the edit is not lost"


def test_a_submission_can_be_cancelled_while_it_is_copied(
    panel: Any, volume: Any, corrected: Any, orders: Orders, press: Any
) -> None:
    ui = panel.section("Correct").ui
    press(ui.submitButton)
    press(ui.cancelButton)
    assert ui.stateLabel.text == "Cancelled. Your correction is unchanged in the scene."
    assert list(panel.work.iterdir()) == []
    assert orders.all == []
    assert ui.submitButton.isEnabled()


def test_nothing_is_sent_of_a_scene_that_was_closed(
    panel: Any, volume: Any, corrected: Any, orders: Orders, press: Any, wait_until: Any, monkeypatch: Any
) -> None:
    from CovidBertLib import masks

    events: list[str] = []
    follow(masks.MaskCopy, events, monkeypatch)
    section = panel.section("Correct")
    press(section.ui.submitButton)
    wait_until(lambda: "piece" in events)
    slicer.mrmlScene.Clear(0)
    assert not section.is_busy
    wait_until(lambda: list(panel.work.iterdir()) == [])
    assert orders.all == []


def test_an_edit_while_it_is_compared_is_said(
    panel: Any, volume: Any, corrected: Any, press: Any, wait_until: Any, python_slicer: Path, monkeypatch: Any
) -> None:
    from CovidBertLib import masks

    events: list[str] = []
    follow(masks.MaskCopy, events, monkeypatch)
    section = panel.section("Correct")
    press(section.ui.compareButton)
    assert section.ui.progressLabel.isVisible()
    assert not section.ui.compareButton.isEnabled()
    assert section.ui.editor.isEnabled(), "it can be corrected further"
    wait_until(lambda: "piece" in events)
    erase(corrected, volume, slice(20, 24))
    wait_until(lambda: not section.is_busy, 300)
    assert section.ui.comparisonLabel.text.startswith("0 voxels differ.")
    assert "Edited since" in section.ui.comparisonLabel.text
    assert list(panel.work.iterdir()) == []


def test_a_comparison_can_be_cancelled_and_ends_with_its_mask(
    panel: Any, volume: Any, corrected: Any, press: Any, wait_until: Any, python_slicer: Path
) -> None:
    section = panel.section("Correct")
    press(section.ui.compareButton)
    press(section.ui.cancelButton)
    wait_until(lambda: not section.is_busy, 300)
    assert "The comparison was cancelled" in panel.messages.text
    assert not section.ui.comparisonTable.isVisible()
    press(section.ui.compareButton)
    assert section.is_busy, "a process cannot have begun and ended yet"
    slicer.mrmlScene.RemoveNode(corrected)
    assert not section.is_busy
    assert "the comparison was dropped" in panel.messages.text
    wait_until(lambda: list(panel.work.iterdir()) == [], 300)
    assert not section.ui.comparisonTable.isVisible()


def test_a_mask_that_is_wrong_is_said_by_the_real_process(
    panel: Any, volume: Any, corrected: Any, press: Any, wait_until: Any, python_slicer: Path
) -> None:
    section = panel.section("Correct")
    extra = corrected.GetSegmentation().AddEmptySegment("", "Segment_1")
    inside = np.zeros(chest()[0].shape, np.uint8)
    inside[0, 0, 0] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(inside, corrected, extra, volume)
    press(section.ui.compareButton)
    wait_until(lambda: not section.is_busy, 300)
    assert panel.messages.text == "The segment 'Segment_1' is none of: right lung, left lung."
    wait_until(lambda: list(panel.work.iterdir()) == [], 300)
