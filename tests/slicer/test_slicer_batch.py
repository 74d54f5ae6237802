"""Many studies into one table: one after the other, sorted by number, exported without names."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import qt
import slicer
from fake_orders import Orders, connect, offer_of, replace_orders
from mrml_samples import add_volume
from panel_tools import find_panel
from result_samples import add_chest, affine, calibrated, no_lesions, write_masks

NAMES = ["Doe, Jane", "=cmd()", "CT 3"]


@pytest.fixture
def orders(module_widget: Any, monkeypatch: pytest.MonkeyPatch) -> Orders:
    return replace_orders(module_widget, monkeypatch)


@pytest.fixture
def panel(module_widget: Any) -> Any:
    panel = find_panel(module_widget)
    connect(panel, offer_of())
    return panel


@pytest.fixture
def batch(panel: Any) -> Any:
    section = panel.section("Batch")
    section.opener.collapsed = False
    return section


@pytest.fixture
def chests(batch: Any) -> list[Any]:
    """Three chests, and what is no CT: a single slice, a label map."""
    volumes = [add_chest(name) for name in NAMES]
    add_volume(affine(), np.zeros((1, 20, 20), np.int16), "scout")
    add_volume(affine(), np.zeros((20, 20, 20), np.int16), "labels", "vtkMRMLLabelMapVolumeNode")
    batch.list_again()
    return volumes


def answer(order: Any, score: float, probability: float | None, document: Any = None) -> None:
    """End a classification with a result."""
    document = document or calibrated()
    document["class_scores"] = {"covid": score, "non-covid": 1 - score}
    document["predicted_class"] = "covid" if score >= 0.5 else "non-covid"
    if probability is None:
        document["calibrated_probability"] = None
    else:
        document["calibrated_probability"].update(probability=probability)
    files = {name: str(path) for name, path in write_masks(Path(order.content["folder"])).items()}
    done = {"result": document, "files": files, "params": {}, "session_id": "s", "sha256": "0", "reused_upload": False}
    order.done(done)


def column(batch: Any, number: int) -> list[str]:
    table = batch.ui.batchTable
    return [table.item(row, number).text() for row in range(table.rowCount)]


def states(batch: Any) -> dict[str, str]:
    return dict(zip(column(batch, 0), column(batch, 1), strict=True))


def run(batch: Any, orders: Any, wait_until: Any, *answers: tuple[float, float | None]) -> None:
    batch.ui.runButton.click()
    for place, (score, probability) in enumerate(answers):
        wait_until(lambda place=place: len(orders.all) == place + 1)
        answer(orders.last, score, probability)
    wait_until(lambda: not batch.is_running)


def test_ct_volumes_of_the_scene_are_listed(panel: Any, batch: Any, chests: list[Any], press: Any) -> None:
    assert sorted(column(batch, 0)) == sorted(NAMES)
    assert batch.ui.stateLabel.text == "Model: covid_s1, as chosen in the section Study."
    press(batch.ui.noneButton)
    assert not batch.ui.runButton.isEnabled()
    press(batch.ui.allButton)
    assert batch.ui.runButton.isEnabled()
    panel.set_server(None)
    assert batch.ui.stateLabel.text == "To classify, connect to a server."
    slicer.mrmlScene.RemoveNode(chests[0])
    assert sorted(column(batch, 0)) == sorted(NAMES[1:])


def test_one_after_the_other_and_sorted_by_number(
    panel: Any, batch: Any, chests: list[Any], orders: Any, wait_until: Any
) -> None:
    run(batch, orders, wait_until, (0.9, 0.09), (0.4, 0.8), (0.7, 0.101))
    assert orders.kinds() == ["classify"] * 3
    assert set(states(batch).values()) == {"done"}
    assert panel.messages.text == "3 studies have a result, 0 failed."
    table = batch.ui.batchTable
    table.sortItems(3, qt.Qt.DescendingOrder)
    assert [float(text) for text in column(batch, 3)] == [80.0, 10.1, 9.0], "as numbers, not as text"
    table.sortItems(4, qt.Qt.AscendingOrder)
    assert [float(text) for text in column(batch, 4)] == [0.6, 0.7, 0.9]
    assert not batch.ui.runButton.isEnabled(), "what has a result is no longer marked"


def test_one_failure_is_named_and_the_others_go_on(
    panel: Any, batch: Any, chests: list[Any], orders: Any, wait_until: Any
) -> None:
    slicer.util.arrayFromVolume(chests[1])[:] = 32767
    chests[2].GetImageData().AllocateScalars(10, 1)
    slicer.util.arrayFromVolume(chests[2])[:] = 0.25
    slicer.util.arrayFromVolume(chests[2])[5, 5, 5] = np.nan
    batch.ui.runButton.click()
    wait_until(lambda: len(orders.all) == 1)
    orders.last.failed("not-ct", "These are no Hounsfield units.", "Choose another volume.")
    wait_until(lambda: len(orders.all) == 2)
    answer(orders.last, 0.9, None)
    wait_until(lambda: not batch.is_running)
    assert sorted(states(batch).values()) == ["done", "failed", "failed"]
    messages = {row.name: row.message for row in batch.rows if row.message}
    assert messages[NAMES[0]] == "These are no Hounsfield units. Choose another volume."
    assert "not numbers" in messages[NAMES[2]]
    assert panel.messages.text == "1 studies have a result, 2 failed."


def test_result_that_cannot_be_shown_is_a_failure(batch: Any, chests: list[Any], orders: Any, wait_until: Any) -> None:
    batch.ui.runButton.click()
    wait_until(lambda: len(orders.all) == 1)
    orders.last.done({"result": None, "files": {}, "params": {}, "session_id": None, "sha256": None})
    wait_until(lambda: len(orders.all) == 2)
    assert (batch.rows[0].state, batch.rows[1].state) == ("failed", "running")
    assert "gives no classification" in batch.rows[0].message


def test_server_that_is_gone_ends_the_batch(batch: Any, chests: list[Any], orders: Any, wait_until: Any) -> None:
    batch.ui.runButton.click()
    wait_until(lambda: len(orders.all) == 1)
    orders.last.failed("unreachable", "The server does not answer.")
    wait_until(lambda: not batch.is_running)
    assert len(orders.all) == 1
    assert sorted(states(batch).values()) == ["cancelled", "cancelled", "failed"]
    assert batch.rows[1].message == "Not tried: The server does not answer."


def test_cancel(batch: Any, chests: list[Any], orders: Any, press: Any, wait_until: Any) -> None:
    batch.ui.runButton.click()
    wait_until(lambda: len(orders.all) == 1)
    orders.last.progress("uploading", 0.5)
    assert batch.ui.progressBar.value == 50
    assert batch.ui.progressLabel.text.startswith("1 of 3: ")
    press(batch.ui.cancelButton)
    assert orders.last.is_cancelled
    orders.last.cancelled()
    wait_until(lambda: not batch.is_running)
    assert set(states(batch).values()) == {"cancelled"}
    assert batch.ui.runButton.isEnabled()


def test_volume_removed_while_it_runs(batch: Any, chests: list[Any], orders: Any, wait_until: Any) -> None:
    batch.ui.runButton.click()
    wait_until(lambda: len(orders.all) == 1)
    slicer.mrmlScene.RemoveNode(chests[0])
    wait_until(lambda: len(orders.all) == 2)
    assert orders.all[0].is_cancelled
    answer(orders.last, 0.9, None)
    wait_until(lambda: len(orders.all) == 3)
    slicer.mrmlScene.Clear(0)
    wait_until(lambda: not batch.is_running)
    assert batch.rows == []


def test_click_shows_that_result_alone(panel: Any, batch: Any, chests: list[Any], orders: Any, wait_until: Any) -> None:
    from CovidBertLib import scene

    run(batch, orders, wait_until, (0.9, 0.8), (0.8, 0.7), (0.7, 0.6))
    row = column(batch, 0).index(NAMES[1])
    batch.ui.batchTable.cellClicked.emit(row, 0)
    assert panel.volume is chests[1]
    visible = [shown.volume for shown in scene.find_all() if shown.lungs.GetDisplayNode().GetVisibility()]
    assert visible == [chests[1]]
    layer = slicer.app.layoutManager().sliceWidget("Red").sliceLogic()
    assert layer.GetBackgroundLayer().GetVolumeNode() is chests[1]
    assert layer.GetForegroundLayer().GetVolumeNode() is panel.shown.location


def exported(batch: Any, press: Any, path: Path) -> list[dict[str, str]]:
    batch.ui.pathEdit.currentPath = str(path)
    press(batch.ui.exportButton)
    return list(csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"))))


def test_table_without_names(
    panel: Any, batch: Any, chests: list[Any], orders: Any, press: Any, wait_until: Any, tmp_path: Path
) -> None:
    assert not batch.ui.exportButton.isEnabled()
    batch.ui.runButton.click()
    wait_until(lambda: len(orders.all) == 1)
    answer(orders.last, 0.9, 0.8)
    wait_until(lambda: len(orders.all) == 2)
    answer(orders.last, 0.6, None, no_lesions())
    wait_until(lambda: len(orders.all) == 3)
    orders.last.failed("not-ct", f"Roe, Richard (once {NAMES[2]}) is no CT.")
    wait_until(lambda: not batch.is_running)
    path = tmp_path / "table.csv"
    table = {row["study"]: row for row in exported(batch, press, path)}
    assert all(name.encode() not in path.read_bytes() for name in (*NAMES, "Roe"))
    failed = next(row for row in table.values() if row["state"] == "failed")
    assert failed["study"].startswith("study ")
    assert failed["message"] == "This is no chest CT in Hounsfield units. Choose another volume."
    done = [row for row in batch.rows if row.state == "done"]
    assert {float(table[row.result.study.identifier]["score"]) for row in done} <= {0.9, 0.6}
    assert all("esearch use only" in row["notice"] for row in table.values())
    batch.ui.namesBox.checked = True
    press(batch.ui.exportButton)
    assert "Replace it?" in panel.ui.questionLabel.text
    press(panel.ui.yesButton)
    named = {row["name"] for row in csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig")))}
    assert named == {"Doe, Jane", "'=cmd()", "CT 3"}, "no cell is a formula"


def test_table_that_cannot_be_written(
    panel: Any, batch: Any, chests: list[Any], orders: Any, press: Any, wait_until: Any, tmp_path: Path
) -> None:
    run(batch, orders, wait_until, (0.9, 0.8), (0.8, 0.7), (0.7, 0.6))
    for path in ("", str(tmp_path), "table.csv"):
        batch.ui.pathEdit.currentPath = path
        press(batch.ui.exportButton)
        assert panel.messages.text == "No file is named for the table."
    (tmp_path / "file").touch()
    batch.ui.pathEdit.currentPath = str(tmp_path / "file" / "table.csv")
    press(batch.ui.exportButton)
    assert "could not be written" in panel.messages.text


class Database:
    """What the DICOM database of Slicer answers (ctkDICOMDatabase)."""

    isOpen = True
    series: ClassVar = {"1.1": ("CT", "Chest 5.0"), "1.2": ("MR", "Brain"), "1.3": ("CT", "Chest 1.0")}

    def patients(self) -> tuple[str, ...]:
        return ("1",)

    def studiesForPatient(self, patient: str) -> tuple[str, ...]:
        return ("1",)

    def seriesForStudy(self, study: str) -> tuple[str, ...]:
        return tuple(self.series)

    def filesForSeries(self, uid: str) -> tuple[str, ...]:
        return (f"/{uid}/1.dcm", f"/{uid}/2.dcm")

    def fileValue(self, file: str, tag: str) -> str:
        return {"0008,0060": self.series[file.split("/")[1]][0], "0008,0020": "20200401"}[tag]

    def descriptionForSeries(self, uid: str) -> str:
        return self.series[uid][1]

    def nameForPatient(self, patient: str) -> str:
        return "Doe^Jane"


def test_series_of_the_dicom_database(
    batch: Any, orders: Any, wait_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch.ui.sourceSelector.setCurrentIndex(1)
    assert "No DICOM database is open" in batch.ui.stateLabel.text
    monkeypatch.setattr(slicer, "dicomDatabase", Database(), raising=False)

    def load(uids: list[str]) -> list[str]:
        return [add_chest(f"series {uids[0]}").GetID()] if uids == ["1.1"] else []

    monkeypatch.setitem(sys.modules, "DICOMLib", SimpleNamespace(DICOMUtils=SimpleNamespace(loadSeriesByUID=load)))
    batch.ui.listButton.click()
    assert column(batch, 0) == ["Doe^Jane 20200401 Chest 5.0 (2 files)", "Doe^Jane 20200401 Chest 1.0 (2 files)"]
    run(batch, orders, wait_until, (0.9, 0.8))
    assert list(states(batch).values()) == ["done", "failed"]
    assert "not one volume" in batch.rows[1].message


def test_picture(
    panel: Any, batch: Any, chests: list[Any], orders: Any, wait_until: Any, screenshot: Any, tmp_path: Path
) -> None:
    batch.ui.runButton.click()
    for place, (score, probability) in enumerate(((0.9, 0.8), (0.3, None))):
        wait_until(lambda place=place: len(orders.all) == place + 1)
        answer(orders.last, score, probability)
    wait_until(lambda: len(orders.all) == 3)
    orders.last.progress("waiting", None, 2)
    assert screenshot(batch.opener, tmp_path / "batch.png").stat().st_size > 5000
    orders.last.failed("not-ct", "These are no Hounsfield units.", "Choose another volume.")
    wait_until(lambda: not batch.is_running)
    batch.ui.batchTable.sortItems(3, qt.Qt.DescendingOrder)
    assert screenshot(batch.opener, tmp_path / "batch-done.png").stat().st_size > 5000
