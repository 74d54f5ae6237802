"""The server's studies in the panel: who labelled what, the next one, skipping, opening."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from fake_orders import Orders, connect, offer_of, replace_orders
from live_server import Live, live_server
from mrml_samples import write_nrrd
from panel_tools import find_panel, python_slicer  # noqa: F401 - a fixture
from result_samples import affine, calibrated, chest

MARK = {"author": "ben", "time": 1795299995.0, "version": 2}


@pytest.fixture
def orders(module_widget: Any, monkeypatch: pytest.MonkeyPatch) -> Orders:
    return replace_orders(module_widget, monkeypatch)


@pytest.fixture
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Live:
    return live_server(request, tmp_path_factory)


@pytest.fixture
def panel(module_widget: Any) -> Any:
    return find_panel(module_widget)


@pytest.fixture
def worklist(panel: Any) -> Any:
    return panel.section("Worklist")


def study(name: str, final: Any = None, spoken: Any = None) -> dict[str, Any]:
    return {"id": name, "suffix": ".nrrd", "labels": {} if final is None else {"final": final}, "study_label": spoken}


def listing(*studies: dict[str, Any]) -> dict[str, Any]:
    return {"studies": list(studies), "total": len(studies), "labelled": 0}


def unfold(worklist: Any, panel: Any, orders: Any, *studies: dict[str, Any]) -> None:
    connect(panel, offer_of())
    worklist.opener.collapsed = True
    worklist.opener.collapsed = False
    orders.last.done(listing(*studies))


def cells(worklist: Any) -> list[list[str]]:
    table = worklist.ui.studyTable
    return [[table.item(row, column).text() for column in range(3)] for row in range(table.rowCount)]


def send_study(order: Any, image: str) -> None:
    """Answer an order with the file of a study."""
    assert (order.content["kind"], order.content["image"]) == ("fetch", image)
    file = write_nrrd(Path(order.content["folder"]) / "study.nrrd", chest()[0], affine(), "int16")
    order.done({"image": image, "file": str(file)})


def test_who_labelled_what(panel: Any, worklist: Any, orders: Any) -> None:
    assert "connect" in worklist.ui.stateLabel.text
    unfold(
        worklist,
        panel,
        orders,
        study("b"),
        study("a", MARK, {**MARK, "author": "eva"}),
        study("c", {**MARK, "time": None}),
    )
    shown = {row[0]: row[1:] for row in cells(worklist)}
    assert shown["a"][0].startswith("ben\n2026-11-2")
    assert shown["a"][1].startswith("eva\n2026")
    assert (shown["b"], shown["c"]) == (["–", "–"], ["ben", "–"])
    bar = worklist.ui.labelledBar
    assert (bar.value, bar.maximum, bar.text) == (2, 3, "2 of 3 studies have a mask")


def test_what_was_said_about_a_study(panel: Any, worklist: Any, orders: Any) -> None:
    unfold(worklist, panel, orders, study("a", spoken=MARK), study("b"))
    worklist.ui.studyTable.selectRow(0)
    label = {"study_class": "covid", "certainty": "probable", "comment": "both bases", "version": 1, "author": "ben"}
    assert orders.last.content["kind"] == "study_label_get"
    orders.last.done({"study_label": label})
    assert worklist.ui.stateLabel.text == "a: COVID-19, probable (ben). both bases"


def test_next_is_opened_under_its_id_and_without_a_file(panel: Any, worklist: Any, orders: Any, press: Any) -> None:
    from CovidBertLib import correction

    unfold(worklist, panel, orders, study("ct-1"), study("ct-2"))
    worklist.ui.strategySelector.setCurrentIndex(1)
    press(worklist.ui.nextButton)
    assert (orders.last.content["kind"], orders.last.content["strategy"]) == ("next", "random")
    assert not worklist.ui.nextButton.isEnabled(), "two questions at once"
    orders.last.done({"image": "ct-2", "note": "No scores are there yet.", "file": None, "strategy": "random"})
    send_study(orders.last, "ct-2")
    volume = panel.volume
    assert volume.GetName() == "ct-2"
    assert np.array_equal(slicer.util.arrayFromVolume(volume), chest()[0])
    assert volume.GetStorageNode() is None, "its file has gone: the scene must write the volume"
    assert correction.image_of(volume, panel.server["url"]) == "ct-2"
    assert worklist.ui.stateLabel.text == "Open: ct-2"
    assert panel.messages.text == "No scores are there yet."
    shown = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetBackgroundLayer().GetVolumeNode()
    assert shown is volume
    assert list(panel.work.iterdir()) == []


def test_opened_study_is_not_fetched_again(panel: Any, worklist: Any, orders: Any, press: Any) -> None:
    unfold(worklist, panel, orders, study("ct-1"))
    worklist.ui.studyTable.selectRow(0)
    press(worklist.ui.openButton)
    send_study(orders.last, "ct-1")
    volume, count = panel.volume, len(orders.all)
    panel.set_volume(None)
    press(worklist.ui.openButton)
    assert panel.volume is volume
    assert len(orders.all) == count


def test_skip_leaves_a_study_to_others(panel: Any, worklist: Any, orders: Any, press: Any) -> None:
    unfold(worklist, panel, orders, study("a"), study("b", MARK), study("c"))
    assert not worklist.ui.skipButton.isEnabled()
    press(worklist.ui.nextButton)
    orders.last.done({"image": "a", "note": "", "file": None, "strategy": "first"})
    send_study(orders.last, "a")
    press(worklist.ui.skipButton)
    orders.last.done({"image": "a", "note": "", "file": None, "strategy": "first"})
    orders.last.done(listing(study("a"), study("b", MARK), study("c")))
    send_study(orders.last, "c")
    assert panel.volume.GetName() == "c"
    press(worklist.ui.skipButton)
    orders.last.done({"image": "a", "note": "", "file": None, "strategy": "first"})
    orders.last.done(listing(study("a"), study("b", MARK), study("c")))
    assert panel.messages.text == "Only skipped studies are left."
    press(worklist.ui.nextButton)
    orders.last.done({"image": "a", "note": "", "file": None, "strategy": "first"})
    assert panel.volume.GetName() == "a", "it is still in the scene"


def test_all_labelled(panel: Any, worklist: Any, orders: Any, press: Any) -> None:
    unfold(worklist, panel, orders, study("a", MARK))
    press(worklist.ui.nextButton)
    orders.last.done({"image": None, "note": "", "file": None, "strategy": "first"})
    assert panel.messages.text == "No study is left: all have a mask, or are reserved for other readers."


def test_failures_are_told_and_the_buttons_come_back(panel: Any, worklist: Any, orders: Any, press: Any) -> None:
    unfold(worklist, panel, orders, study("a"))
    worklist.ui.studyTable.selectRow(0)
    press(worklist.ui.openButton)
    assert worklist.ui.cancelButton.isVisible()
    orders.last.failed("study-in-parts", "This study is not one file on the server.")
    assert panel.messages.text == "This study is not one file on the server."
    press(worklist.ui.openButton)
    (Path(orders.last.content["folder"]) / "study.nrrd").write_bytes(b"NRRD0004\nnothing follows")
    orders.last.done({"image": "a", "file": str(Path(orders.last.content["folder"]) / "study.nrrd")})
    assert panel.messages.text == "study.nrrd of a cannot be read here."
    assert panel.volume is None
    press(worklist.ui.openButton)
    press(worklist.ui.cancelButton)
    assert orders.last.is_cancelled
    orders.last.cancelled()
    assert worklist.ui.openButton.isEnabled()


def test_reader_opens_from_the_list_only(panel: Any, worklist: Any, orders: Any) -> None:
    connect(panel, offer_of(roles=["reader"]))
    worklist.opener.collapsed = True
    worklist.opener.collapsed = False
    orders.last.done(listing(study("a")))
    worklist.ui.studyTable.selectRow(0)
    assert worklist.ui.openButton.isEnabled()
    assert not worklist.ui.nextButton.isEnabled()
    assert "role annotator" in worklist.ui.stateLabel.text


def test_other_server_has_other_studies(panel: Any, worklist: Any, orders: Any) -> None:
    unfold(worklist, panel, orders, study("a"))
    connect(panel, offer_of(), "http://127.0.0.1:10")
    assert cells(worklist) == []
    panel.set_server(None)
    assert not worklist.ui.refreshButton.isEnabled()


@pytest.mark.usefixtures("python_slicer")
@pytest.mark.server
@pytest.mark.slow
def test_real_server_hands_out_takes_and_lists(
    panel: Any, worklist: Any, live: Live, press: Any, wait_until: Any, tmp_path: Path
) -> None:
    """A study is handed out, its mask submitted with a label; the list says who did it."""
    from CovidBertLib import result, scene

    panel.consent.give(live.url)
    panel.set_server(live.order(), offer_of(user="annotator-anna"))
    correct = panel.section("Correct")
    worklist.opener.collapsed = correct.opener.collapsed = True
    worklist.opener.collapsed = correct.opener.collapsed = False
    wait_until(lambda: len(cells(worklist)) >= 2, 300)
    press(worklist.ui.nextButton)
    wait_until(lambda: panel.volume is not None, 300)
    volume, image = panel.volume, panel.volume.GetName()
    assert image in {row[0] for row in cells(worklist)}
    values = slicer.util.arrayFromVolume(volume)
    mask = np.zeros(values.shape, np.uint8)
    mask[:, 200:300, 50:150], mask[:, 200:300, 300:400] = 1, 2
    matrix = volume_affine(volume)
    files = {"lungs": write_nrrd(tmp_path / "lungs.nrrd", mask, matrix)}
    scene.show(volume, result.parse(calibrated()), files)
    panel.set_volume(volume)
    press(correct.ui.startButton)
    correct.ui.classSelector.setCurrentIndex(4)
    correct.ui.commentEdit.text = "a box in the place of each lung"
    press(correct.ui.submitButton)
    wait_until(lambda: not correct.is_busy, 300)
    assert "Submitted as version" in correct.ui.stateLabel.text
    wait_until(lambda: {row[0]: row[1] for row in cells(worklist)}[image].startswith("annotator-anna"), 300)
    final = next((live.studies / "labels" / "final").glob(f"{image}*"))
    shutil.copy(final, tmp_path / "final.nrrd")
    saved = slicer.util.loadVolume(str(tmp_path / "final.nrrd"), {"name": "saved"})
    assert np.array_equal(slicer.util.arrayFromVolume(saved), mask)


def volume_affine(volume: Any) -> np.ndarray:
    from CovidBertLib.geometry import index_to_patient

    return index_to_patient(volume)


def test_picture(panel: Any, worklist: Any, orders: Any, press: Any, screenshot: Any, tmp_path: Path) -> None:
    names = [f"ct-{number:02d}" for number in range(8)]
    marks = [MARK, {**MARK, "author": "annotator-anna"}, None]
    unfold(
        worklist, panel, orders, *[study(name, marks[place % 3], marks[-place % 3]) for place, name in enumerate(names)]
    )
    worklist.ui.studyTable.selectRow(2)
    press(worklist.ui.openButton)
    send_study(orders.last, "ct-02")
    assert screenshot(worklist.opener, tmp_path / "worklist.png").stat().st_size > 5000
