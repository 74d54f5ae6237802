"""Reports: what the pages say, what files are called, and that none is ever replaced."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import qt
import slicer
import vtk
from panel_tools import find_panel
from result_samples import STATES, add_chest, calibrated, demonstration, no_lesions, write_masks

from CovidBertLib import pages, pdf, pictures, report
from CovidBertLib.overlay import show_overlay
from CovidBertLib.problems import CovidBertError
from CovidBertLib.result import parse
from CovidBertLib.scene import show


class Recorder:
    """A painter that also keeps what is written on each page."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.painter = folder, qt.QPainter()
        self.pages: list[list[str]] = []
        self.images: list[Any] = []
        self.boxes: list[Any] = []
        self.new_page()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.painter, name)

    def new_page(self) -> None:
        self.close()
        image = qt.QImage(round(pages.WIDTH), round(pages.HEIGHT), qt.QImage.Format_RGB32)
        image.fill(qt.QColor("#ffffff"))
        self.images.append(image)
        self.pages.append([])
        self.painter.begin(image)

    def drawText(self, box: Any, flags: int, words: str) -> None:
        self.pages[-1].append(words)
        self.boxes.append(box)
        self.painter.drawText(box, flags, words)

    def close(self) -> None:
        if self.painter.isActive():
            self.painter.end()
            self.images[-1].save(str(self.folder / f"page{len(self.images)}.png"))


@pytest.fixture
def recorder(application: Any, tmp_path: Path) -> Recorder:
    return Recorder(tmp_path)


@pytest.fixture
def views(application: Any, tmp_path: Path) -> Callable[..., list[Any]]:
    """``views(document)``: show a result of the chest in the slice views and take pictures of them."""

    def grab(document: dict[str, Any]) -> list[Any]:
        volume = add_chest("DOE^JOHN")
        shown = show(volume, parse(document), write_masks(tmp_path))
        show_overlay(volume, shown.location)
        put_in_views()
        return pictures.grab(volume, tmp_path)

    return grab


def put_in_views() -> None:
    """Let the layout show all slice views, as Slicer's does, and fit the study into them."""
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        node.SetMappedInLayout(1)
    slicer.app.layoutManager().resetSliceViews()


@pytest.mark.parametrize("state", STATES)
def test_every_page_says_what_it_must(recorder: Recorder, state: str) -> None:
    document = STATES[state]()
    pdf.paint_report(recorder, recorder.new_page, parse(document), [])
    recorder.close()
    for page in recorder.pages:
        assert document["research_use_only"] in page
        assert any(document["study"]["identifier"] in words for words in page)
        assert any("UNTRAINED" in words for words in page) == (state == "untrained")
        assert any("DEMONSTRATION" in words for words in page) == (state == "demonstration")
    everything = " ".join(words for page in recorder.pages for words in page)
    for sentence in document["warnings"]:
        assert sentence in everything
    for weights in document["provenance"]["weights"]:
        assert weights["sha256"] in everything
    assert ("counts as positive" in everything) == (document["calibrated_probability"] is not None)
    paper = qt.QRectF(0, 0, pages.WIDTH, pages.HEIGHT)
    assert all(paper.contains(box) for box in recorder.boxes)


def test_pages_with_pictures(recorder: Recorder, views: Any) -> None:
    document = demonstration()
    pdf.paint_report(recorder, recorder.new_page, parse(document), views(document))
    recorder.close()
    letters = [words for words in recorder.pages[0] if words in set("RLAPSI")]
    assert letters[::5] == list("RLAPRLSIAPSI")  # left, right, top, bottom; five times each, for the dark rim
    assert [words for words in recorder.pages[0] if words.startswith(("Axial", "Coronal", "Sagittal"))] == [
        "Axial, I 562.0 mm",
        "Coronal, A 2.5 mm",
        "Sagittal, L 2.5 mm",
    ]
    assert "right lung" in recorder.pages[0]
    assert "No slice view showed" not in " ".join(recorder.pages[0])


def test_pictures_show_masks_and_no_corner_texts(views: Any, tmp_path: Path) -> None:
    """What the application writes into the corners, such as the patient's name, stays out of the report."""
    volume = add_chest()
    put_in_views()
    widget = slicer.app.layoutManager().sliceWidget("Red")
    annotation = vtk.vtkCornerAnnotation()
    annotation.SetText(2, "DOE^JOHN")
    widget.sliceView().renderWindow().GetRenderers().GetFirstRenderer().AddViewProp(annotation)
    widget.sliceLogic().GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
    before = pictures.grab(volume, tmp_path)[0].image
    annotation.SetVisibility(False)
    without = pictures.grab(volume, tmp_path)[0].image
    assert before == without
    assert not annotation.GetVisibility()
    annotation.SetVisibility(True)
    pictures.grab(volume, tmp_path)
    assert annotation.GetVisibility()
    slicer.mrmlScene.RemoveNode(volume)
    assert views(calibrated())[0].image != without
    assert not list(tmp_path.glob("*/view.png"))


def test_views_that_show_something_else_are_left_out(views: Any, tmp_path: Path) -> None:
    assert len(views(calibrated())) == 3
    volume, other = slicer.util.getNode("DOE^JOHN"), add_chest("other")
    red = slicer.app.layoutManager().sliceWidget("Red")
    red.sliceLogic().GetSliceCompositeNode().SetBackgroundVolumeID(other.GetID())
    slicer.app.layoutManager().sliceWidget("Green").mrmlSliceNode().SetMappedInLayout(0)
    assert [picture.title[:8] for picture in pictures.grab(volume, tmp_path)] == ["Sagittal"]


def test_an_oblique_view_is_called_so(views: Any, tmp_path: Path) -> None:
    views(calibrated())
    node = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    turn = vtk.vtkTransform()
    turn.SetMatrix(node.GetSliceToRAS())
    turn.RotateX(35)
    node.GetSliceToRAS().DeepCopy(turn.GetMatrix())
    node.UpdateMatrices()
    assert pictures.grab(slicer.util.getNode("DOE^JOHN"), tmp_path)[0].title == "Oblique"


def test_the_pdf_is_whole(recorder: Recorder, views: Any, tmp_path: Path) -> None:
    document = demonstration()
    pdf.write_pdf(tmp_path / "report.pdf", parse(document), views(document))
    written = (tmp_path / "report.pdf").read_bytes()
    assert written.startswith(b"%PDF")
    assert b"DOE" not in written


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "reports"
    made.mkdir()
    return made


def test_files_are_named_by_the_studys_hash(application: Any, folder: Path, tmp_path: Path) -> None:
    document = calibrated()
    saved = report.save(parse(document), folder, ["pdf", "json", "csv"], [], tmp_path)
    assert [path.name for path in saved] == [
        f"covid-bert-743b367cd3ae5dfe-20261121T215645.{kind}" for kind in ("pdf", "json", "csv")
    ]
    assert json.loads(saved[1].read_text(encoding="utf-8")) == document
    assert saved[2].read_bytes().startswith(b"key,name,right,left,total,unit,study,weights_state,notice\r\n")
    assert sorted(path.name for path in tmp_path.glob("report.*")) == []


@pytest.mark.parametrize("identifier", ["../../DOE^JOHN", "/etc/passwd", "", "a\\b:c|d*e", "é" * 300, "..", "CON" * 90])
def test_a_name_stays_in_the_folder(application: Any, folder: Path, tmp_path: Path, identifier: str) -> None:
    document = calibrated()
    document["study"]["identifier"] = identifier
    document["provenance"]["created"] = identifier
    (saved,) = report.save(parse(document), folder, ["json"], [], tmp_path)
    assert saved.parent == folder
    assert [path.name for path in folder.iterdir()] == [saved.name]
    assert len(saved.name) < 80


def test_no_report_is_replaced(application: Any, folder: Path, tmp_path: Path) -> None:
    result = parse(calibrated())
    first = report.save(result, folder, ["json"], [], tmp_path)
    again = report.save(result, folder, ["pdf", "json"], [], tmp_path)
    assert [path.stem for path in again] == [first[0].stem + "-2"] * 2
    assert len(list(folder.iterdir())) == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_leaves_nothing_behind(
    application: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    def full(path: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        if mode == "xb" and path.suffix == ".json":
            real(path, mode).close()
            return real(Path("/dev/full"), "wb")
        return real(path, mode, *rest, **named)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(report.ReportError, match="could not be saved") as caught:
        report.save(parse(calibrated()), folder, ["pdf", "json"], [], tmp_path)
    assert "space" in caught.value.hint
    assert list(folder.iterdir()) == []


def test_a_missing_folder_is_said(application: Any, tmp_path: Path) -> None:
    with pytest.raises(CovidBertError, match="no folder"):
        report.save(parse(calibrated()), tmp_path / "none", ["json"], [], tmp_path)


def test_a_pdf_that_cannot_be_written_is_said(application: Any, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "report.pdf").mkdir()
    with pytest.raises(report.ReportError, match="could not be saved"):
        report.save(parse(calibrated()), folder, ["pdf"], [], tmp_path)
    assert list(folder.iterdir()) == []


@pytest.fixture
def panel(module_widget: Any, tmp_path: Path) -> Any:
    """The panel with a result on show."""
    from CovidBertLib import overlay, result, scene  # as the module has loaded them

    panel = find_panel(module_widget)
    volume = add_chest("DOE^JOHN")
    shown = scene.show(volume, result.parse(no_lesions()), write_masks(tmp_path))
    overlay.show_overlay(volume, shown.location)
    put_in_views()
    panel.set_volume(volume)
    panel.section("Report").opener.collapsed = False
    return panel


def test_the_panel_saves_without_a_window(
    panel: Any, press: Any, folder: Path, screenshot: Any, tmp_path: Path
) -> None:
    ui = panel.section("Report").ui
    press(ui.saveButton)
    assert "No folder" in panel.messages.text
    ui.folderEdit.currentPath = str(folder)
    ui.csvCheck.setChecked(True)
    press(ui.saveButton)
    assert "saved in" in panel.messages.text
    names = sorted(path.name for path in folder.iterdir())
    assert [name.rpartition(".")[2] for name in names] == ["csv", "json", "pdf"]
    assert all(name in ui.savedLabel.text for name in names)
    assert "DOE" not in "".join(names)
    assert not list(panel.work.iterdir())
    screenshot(panel.section("Report").widget, tmp_path / "report.png")
    press(ui.saveButton)
    assert len(list(folder.iterdir())) == 6
    assert not [widget for widget in slicer.app.topLevelWidgets() if widget.isVisible() and widget.inherits("QDialog")]


def test_the_panel_says_what_is_missing(panel: Any, folder: Path) -> None:
    ui = panel.section("Report").ui
    for box in (ui.pdfCheck, ui.jsonCheck):
        box.setChecked(False)
    assert "Choose what to save" in ui.reportHint.text
    assert not ui.saveButton.enabled
    ui.jsonCheck.setChecked(True)
    assert ui.saveButton.enabled
    panel.set_volume(None)
    assert "no result" in ui.reportHint.text
    assert not ui.saveButton.enabled


def test_a_report_without_views_is_saved_and_said(panel: Any, press: Any, folder: Path) -> None:
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        node.SetMappedInLayout(0)
    ui = panel.section("Report").ui
    ui.folderEdit.currentPath = str(folder)
    press(ui.saveButton)
    assert "without views" in panel.messages.text
    assert len(list(folder.iterdir())) == 2


def test_a_folder_that_is_gone_is_said(panel: Any, press: Any, tmp_path: Path) -> None:
    ui = panel.section("Report").ui
    ui.folderEdit.currentPath = str(tmp_path / "gone")
    press(ui.saveButton)
    assert "no folder" in panel.messages.text
    assert not list(panel.work.iterdir())
