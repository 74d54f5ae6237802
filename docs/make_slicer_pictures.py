"""Make the pictures of the 3D Slicer extension that the documentation shows, from a real result of a real study.

Run it with the packages of the group ``dev``: ``PYTHONPATH=apps python docs/make_slicer_pictures.py``. The panel is the
extension's own, the views are drawn by 3D Slicer's displayable managers; ``tests/slicer`` stands in for the rest.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from covid_bert.systems import SYSTEMS, create
from covid_bert.volumes import read, write_map, write_mask

REPOSITORY = Path(__file__).resolve().parents[1]
STUDY = REPOSITORY / "sample-data" / "lung_dx_a0001"
IMAGES = REPOSITORY / "docs" / "images"
SYSTEM = "s1"
WINDOW, LEVEL = 1500, -600  # HU, of lungs
SECTIONS = ("Classify", "Result")
VIEW, TITLE, GAP = 420, 22, 6  # pixels of a view, of its title, between views
TITLE_COLOURS = {"Red": "#f34a33", "Green": "#6eb04b", "Yellow": "#edd54c", "3D": "#7483e2"}  # Slicer's own
SECONDS = 60  # until the panel must have come to rest


def main() -> None:
    """Classify the study, show its result, and write the pictures."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        classify(work)
        sys.path.insert(0, str(REPOSITORY / "tests" / "slicer"))
        importlib.import_module("conftest")  # puts Slicer and its stand-in in place
        from slicer_fixtures import MODULE_FILE, SLICER_APPLICATION

        from standin import loading

        SLICER_APPLICATION.open_world(work / "slicer")
        loading.load_module(MODULE_FILE)
        panel = loading.build_widget(MODULE_FILE.stem).panel
        show(panel, work)
        save(picture_of_panel(panel), "slicer-panel.png")
        save(picture_of_views(panel, work), "slicer-views.png")
        save(picture_of_report(panel, work), "slicer-report.png")
        loading.unload_module(MODULE_FILE.stem)
        SLICER_APPLICATION.close_world()


def classify(folder: Path) -> None:
    """Write CT, masks, location map and result of the study, as a server sends them."""
    volume = read(STUDY)
    classification = create(SYSTEM).classify(volume)
    write_map(volume.array.astype(np.float32), volume, folder / "ct.nrrd")
    write_mask(classification.lungs.array, volume, folder / "lungs.nrrd")
    if classification.lesions is not None:
        write_mask(classification.lesions.array, volume, folder / "lesions.nrrd")
    write_map(classification.location, volume, folder / "location.nrrd")
    (folder / "result.json").write_text(classification.result.model_dump_json(), encoding="utf-8")


def show(panel: Any, folder: Path) -> None:
    """Show the study and its result in the views and the panel, as after the button Classify."""
    import slicer

    from CovidBertLib import overlay, result, scene

    layout = slicer.app.layoutManager()
    for widget in map(layout.sliceWidget, layout.sliceViewNames()):
        widget.sliceView().renderWindow()  # in Slicer, views are there before anything is loaded
        widget.mrmlSliceNode().SetMappedInLayout(1)
    layout.threeDWidget(0).threeDView().renderWindow()
    volume = slicer.util.loadVolume(str(folder / "ct.nrrd"), {"name": STUDY.name})
    volume.GetDisplayNode().AutoWindowLevelOff()
    volume.GetDisplayNode().SetWindowLevel(WINDOW, LEVEL)
    files = {path.stem: path for path in folder.glob("*.nrrd") if path.stem != "ct"}
    parsed = result.parse_json((folder / "result.json").read_text(encoding="utf-8"))
    shown = scene.show(volume, parsed, files)
    overlay.show_overlay(volume, shown.location)
    layout.resetSliceViews()
    model = {"type": "classification", "description": f"Classifies a chest CT study: {SYSTEMS[SYSTEM].title}."}
    panel.set_server({"url": "https://ct.example", "token": None, "ca_file": None}, {"models": {SYSTEM: model}})
    panel.set_volume(volume)
    slicer.vtkMRMLSliceNode.JumpAllSlices(
        slicer.mrmlScene, *parsed.location.peak_ras_mm, slicer.vtkMRMLSliceNode.OffsetJumpSlice
    )
    panel.section("Result").ui.strongestButton.click()
    for segmentation in (shown.lungs, shown.lesions):
        if segmentation is not None:
            segmentation.CreateClosedSurfaceRepresentation()


def picture_of_panel(panel: Any) -> Any:
    """Return the panel with the sections Study and Result, as high as it needs to be."""
    from result_samples import unfold

    for section in panel.sections:
        section.opener.collapsed = section.form not in SECTIONS
    unfold(wait_until, panel)
    return panel.widget.parentWidget().grab().toImage()


def wait_until(condition: Callable[[], bool]) -> None:
    """Let Qt work until a condition holds."""
    from slicer_fixtures import spin

    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        spin()


def picture_of_views(panel: Any, folder: Path) -> Any:
    """Return axial, 3-D, coronal and sagittal view, arranged as in Slicer's four-up layout."""
    import qt
    import slicer

    from CovidBertLib import pictures
    from standin.views import write_png

    view = slicer.app.layoutManager().threeDWidget(0).threeDView()
    view.mrmlViewNode().SetBoxVisible(False)
    view.mrmlViewNode().SetAxisLabelsVisible(False)
    view.resetFocalPoint()
    three_d = qt.QImage(str(write_png(view.renderWindow(), folder / "3d.png")))
    red, green, yellow = pictures.grab(panel.volume, folder)
    image = qt.QImage(2 * VIEW + GAP, 2 * (VIEW + TITLE) + GAP, qt.QImage.Format_RGB32)
    image.fill(qt.QColor("#202020"))
    painter = qt.QPainter(image)
    painter.setRenderHint(qt.QPainter.SmoothPixmapTransform)
    three_d = pictures.Picture(three_d, "3-D, from the front", "R", "L", "S", "I")
    named = {"Red": red, "3D": three_d, "Green": green, "Yellow": yellow}
    for place, (name, picture) in enumerate(named.items()):
        x, y = place % 2 * (VIEW + GAP), place // 2 * (VIEW + TITLE + GAP)
        paint_view(painter, x, y, picture, TITLE_COLOURS[name])
    painter.end()
    return image


def paint_view(painter: Any, x: int, y: int, picture: Any, colour: str) -> None:
    """Paint a view with its title and the letters of the patient's sides."""
    import qt

    painter.fillRect(x, y, VIEW, TITLE, qt.QColor(colour))
    painter.setPen(qt.QColor("#000000"))
    painter.drawText(qt.QRectF(x + 6, y, VIEW, TITLE), qt.Qt.AlignVCenter, picture.title)
    box = qt.QRectF(x, y + TITLE, VIEW, VIEW)
    side = min(picture.image.width(), picture.image.height())
    left, top = (picture.image.width() - side) / 2, (picture.image.height() - side) / 2
    painter.drawImage(box, picture.image, qt.QRectF(left, top, side, side))
    inner, flags = box.adjusted(5, 3, -5, -3), qt.Qt
    low = inner.adjusted(0, VIEW * 2 / 3, 0, 0)  # the legend is in the middle of the right edge
    for part, where, letter in (
        (low, flags.AlignLeft | flags.AlignVCenter, picture.left),
        (low, flags.AlignRight | flags.AlignVCenter, picture.right),
        (inner, flags.AlignHCenter | flags.AlignTop, picture.top),
        (inner, flags.AlignHCenter | flags.AlignBottom, picture.bottom),
    ):
        for ink, shift in (("#000000", 1), ("#ffffff", 0)):
            painter.setPen(qt.QColor(ink))
            painter.drawText(part.translated(shift, shift), where, letter)


def picture_of_report(panel: Any, folder: Path) -> Any:
    """Return the first page of the report."""
    import qt

    from CovidBertLib import pages, pdf, pictures

    sheets: list[Any] = []
    painter = qt.QPainter()

    def new_page() -> None:
        if painter.isActive():
            painter.end()
        sheets.append(qt.QImage(round(pages.WIDTH), round(pages.HEIGHT), qt.QImage.Format_RGB32))
        sheets[-1].fill(qt.QColor("#ffffff"))
        painter.begin(sheets[-1])
        painter.setRenderHints(qt.QPainter.Antialiasing | qt.QPainter.SmoothPixmapTransform)

    new_page()
    pdf.paint_report(painter, new_page, panel.shown_result, pictures.grab(panel.volume, folder))
    painter.end()
    return sheets[0]


def save(image: Any, name: str) -> None:
    """Write a picture in 6 bits of each colour: the noise of a CT would take most of the file."""
    coarse = Image.fromqimage(image).convert("RGB").point(lambda value: value & 0xFC | value >> 6)
    coarse.save(IMAGES / name, optimize=True)


if __name__ == "__main__":
    main()
