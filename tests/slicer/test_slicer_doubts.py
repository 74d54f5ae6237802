"""A mask is not sent to a study that the volume no longer is, and an edited mask is no silent baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from fake_orders import Orders, connect, offer_of, replace_orders
from mask_tools import compared
from panel_tools import find_panel
from result_samples import add_chest, calibrated, write_masks

URL = "http://127.0.0.1:9"
RIGHT = "CovidBert_right_lung"


@pytest.fixture
def orders(module_widget: Any, monkeypatch: pytest.MonkeyPatch) -> Orders:
    return replace_orders(module_widget, monkeypatch)


@pytest.fixture
def panel(module_widget: Any, orders: Orders) -> Any:
    panel = find_panel(module_widget)
    panel.section("Correct").opener.collapsed = False
    connect(panel, offer_of(), URL)
    return panel


@pytest.fixture
def volume(panel: Any, tmp_path: Path) -> Any:
    """A classified chest that is the server's study ct-1."""
    from CovidBertLib import correction, result, scene

    node = add_chest("CT")
    scene.show(node, result.parse(calibrated()), write_masks(tmp_path))
    correction.remember_image(node, URL, "ct-1")
    panel.set_volume(node)
    return node


def clone(volume: Any) -> Any:
    copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "copy")
    copy.CopyContent(volume, True)
    for name in volume.GetAttributeNames():
        copy.SetAttribute(name, volume.GetAttribute(name))
    return copy


def change(volume: Any, what: str) -> None:
    if what == "voxels":
        slicer.util.arrayFromVolume(volume)[10:20, 10:20, 10:20] = -1000
    else:
        x, y, z = volume.GetOrigin()
        volume.SetOrigin(x, y + 5.0, z)


@pytest.mark.parametrize("what", ["voxels", "place"])
def test_study_of_the_server_is_one_image(panel: Any, volume: Any, what: str) -> None:
    from CovidBertLib import correction

    copy = clone(volume)
    assert correction.image_of(copy, URL) == "ct-1", "the same voxels at the same place"
    change(copy, what)
    assert correction.image_of(copy, URL) is None
    assert correction.former_image_of(copy, URL) == "ct-1"
    assert correction.former_image_of(copy, "http://other") is None
    assert correction.volume_of_image(URL, "ct-1") is volume
    change(volume, what)
    assert correction.volume_of_image(URL, "ct-1") is None, "the worklist fetches it again"


def test_study_is_known_again_in_a_saved_scene(panel: Any, volume: Any, tmp_path: Path) -> None:
    from CovidBertLib import correction

    bundle = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(bundle)
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(bundle)
    loaded = slicer.util.getNode("CT")
    assert correction.image_of(loaded, URL) == "ct-1"
    (lungs,) = (node for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if "lungs" in node.GetName())
    assert compared(lungs, lungs, loaded, tmp_path)["is_as_sent"]


@pytest.mark.parametrize("what", ["voxels", "place"])
def test_mask_of_a_changed_volume_is_sent_only_as_a_study_of_its_own(
    panel: Any, volume: Any, orders: Orders, press: Any, what: str
) -> None:
    form = panel.section("Correct").ui
    press(form.startButton)
    change(volume, what)
    panel.refresh()
    assert "no longer the study that the server has" in form.stateLabel.text
    assert not form.labelButton.isEnabled()
    press(form.submitButton)
    assert orders.all == []
    assert "as a study of its own?" in panel.ui.questionLabel.text
    press(panel.ui.noButton)
    assert orders.all == []
    assert panel.messages.text == "Nothing was sent."
    if what == "voxels":
        press(form.submitButton)
        press(panel.ui.yesButton)
        assert (orders.last.content["kind"], orders.last.content["image"]) == ("submit", None)
        assert orders.last.content["volume"] is not None


def test_mask_of_the_study_as_it_is_needs_no_question(panel: Any, volume: Any, orders: Orders, press: Any) -> None:
    form = panel.section("Correct").ui
    press(form.startButton)
    press(form.submitButton)
    assert orders.last.content["image"] == "ct-1"


def test_study_that_is_added_is_the_volume_as_it_was_sent(panel: Any, volume: Any, orders: Orders, press: Any) -> None:
    from CovidBertLib import correction

    volume.SetAttribute("CovidBert.Image", None)
    form = panel.section("Correct").ui
    press(form.startButton)
    press(form.submitButton)
    assert orders.last.content["image"] is None
    change(volume, "voxels")
    orders.last.done({"image": "ct-2", "version": 1, "author": "anna", "study_label_version": None})
    assert correction.image_of(volume, URL) is None
    assert correction.former_image_of(volume, URL) == "ct-2"


def erase(segmentation: Any, volume: Any) -> None:
    """What the eraser of the module Segment Editor does."""
    left = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, RIGHT, volume).copy()
    left[:30] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(left, segmentation, RIGHT, volume)


@pytest.mark.parametrize("is_edited", [True, False])
def test_edited_automatic_mask_is_said_where_it_is_compared_with(
    panel: Any, volume: Any, orders: Orders, press: Any, wait_until: Any, tmp_path: Path, is_edited: bool
) -> None:
    section = panel.section("Correct")
    press(section.ui.startButton)
    if is_edited:
        erase(panel.shown.lungs, volume)
    press(section.ui.compareButton)
    wait_until(lambda: not section.is_busy)
    told = section.ui.comparisonLabel.text
    assert "voxels differ" in told
    assert ("no longer the mask that the server sent" in told) == is_edited


def test_checksum_of_a_mask_tells_labels_and_places_apart() -> None:
    from CovidBertLib.label_arrays import checksum

    labels = np.zeros((6, 7, 8), np.uint8)
    labels[1:3, 2:4, 3:6] = 1
    swapped, moved = 2 * labels, np.roll(labels, 1, axis=0)
    assert len({checksum(each) for each in (labels, swapped, moved, 0 * labels)}) == 4
    assert checksum(labels) == checksum(labels.copy(order="F"))
