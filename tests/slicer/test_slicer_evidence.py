"""The evidence chart: feet left, head right, the views follow a click and the chart follows the views."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import qt
import slicer
from panel_tools import find_panel
from result_samples import HIGH_PEAK, LOW_PEAK, SIZES, STATES, add_chest, calibrated, no_lesions, write_masks

from CovidBertLib.chart import EvidenceChart, peaks
from CovidBertLib.result import parse


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([0.1, 0.9, 0.1, 0.8, 0.2], [1, 3]),
        ([0.1, 0.9, 0.1, 0.3, 0.2], [1]),  # less than half as high
        ([0.1, 0.9, 0.9, 0.9, 0.2], [2]),  # the middle of a run
        ([0.9, 0.1, 0.1, 0.1, 0.8], [0, 4]),  # at the ends
        ([0.5, 0.5, 0.5, 0.5, 0.5], []),
        ([None, 0.2, None, 0.7, None], [3]),
        ([None] * 5, []),
        ([], []),
    ],
)
def test_peaks(values: list[float | None], found: list[int]) -> None:
    assert peaks(dict(enumerate(values))) == found


def test_slices_and_places_belong_together() -> None:
    chart = EvidenceChart(parse(calibrated()))
    assert [chart.slice_at(chart.center(index, 5.0, 377.0), 5.0, 377.0) for index in range(48)] == list(range(48))
    assert chart.slice_at(6.0, 5.0, 377.0) is None
    assert chart.slice_at(380.0, 5.0, 377.0) is None
    assert chart.center(47, 0.0, 377.0) > chart.center(0, 0.0, 377.0)  # the head is at the right


@pytest.mark.parametrize(("state", "curves"), [("calibrated", 3), ("no_lesions", 2)])
def test_curves_and_peaks(state: str, curves: int) -> None:
    chart = EvidenceChart(parse(STATES[state]()))
    assert len(chart.series) == curves
    assert chart.peaks == ([LOW_PEAK, HIGH_PEAK] if state == "calibrated" else [HIGH_PEAK])  # of the location map


@pytest.mark.parametrize("count", [1, 48, 900])
def test_any_number_of_slices_can_be_painted(application: Any, count: int) -> None:
    document = calibrated()
    document["study"]["slices"] = count
    document["slice_evidence"] = [
        {"index": index, "position_mm": None, "score": None, "location_share": 0.0, "lesion_share": None}
        for index in range(0, count, 2)
    ]
    for score in (None, 1.0):
        document["slice_evidence"][0]["score"] = score
        assert painted(EvidenceChart(parse(document)), 0) != painted(EvidenceChart(parse(document)), None)


def painted(chart: EvidenceChart, current: int | None) -> Any:
    from CovidBertLib.painting import Look

    image = qt.QImage(300, int(chart.height), qt.QImage.Format_ARGB32)
    image.fill(qt.QColor("#ffffff"))
    painter = qt.QPainter()
    painter.begin(image)
    chart.paint(painter, 0.0, 0.0, 300.0, Look(), current)
    painter.end()
    return image


@pytest.fixture
def view(module_widget: Any, tmp_path: Path, wait_until: Any) -> Any:
    """The chart in the panel, with the chest on show."""
    from CovidBertLib import result, scene  # as the module has loaded them

    panel = find_panel(module_widget)
    volume = add_chest()
    scene.show(volume, result.parse(calibrated()), write_masks(tmp_path))
    for name in slicer.app.layoutManager().sliceViewNames():
        composite = slicer.app.layoutManager().sliceWidget(name).sliceLogic().GetSliceCompositeNode()
        composite.SetBackgroundVolumeID(volume.GetID())
    slicer.app.layoutManager().resetSliceViews()
    panel.set_volume(volume)
    evidence = panel.section("Result").evidence
    wait_until(lambda: panel.section("Result").ui.evidenceChart.width > 200)
    return evidence


def click(view: Any, place: float, kind: Any = None) -> None:
    """Press the left button at a place of the chart."""
    chart = view._ui.evidenceChart
    event = qt.QMouseEvent(
        qt.QEvent.MouseButtonPress if kind is None else kind,
        qt.QPointF(place, 40.0),
        chart.mapToGlobal(qt.QPointF(place, 40.0)),
        qt.Qt.LeftButton,
        qt.Qt.LeftButton,
        qt.Qt.NoModifier,
    )
    qt.QCoreApplication.sendEvent(chart, event)


def offset(name: str = "Red") -> float:
    return slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode().GetSliceOffset()


@pytest.mark.parametrize("index", [0, 9, 47])
def test_a_click_moves_the_views(view: Any, index: int) -> None:
    across = offset("Green"), offset("Yellow")
    click(view, view.chart.center(index, 0.0, view._ui.evidenceChart.width))
    assert view.current == index
    assert offset() == pytest.approx(-700.0 + 6.0 * index)
    assert (offset("Green"), offset("Yellow")) == pytest.approx(across)
    assert f"Slice {index + 1} of 48" in view._ui.evidenceLabel.text
    click(view, 3.0)  # beside the plot
    assert view.current == index


def test_drawing_over_the_chart_scrolls(view: Any) -> None:
    width = view._ui.evidenceChart.width
    click(view, view.chart.center(10, 0.0, width))
    click(view, view.chart.center(20, 0.0, width), qt.QEvent.MouseMove)
    assert view.current == 20


def test_the_chart_follows_the_views(view: Any) -> None:
    before = view._ui.evidenceChart.pixmap.toImage()
    slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode().SetSliceOffset(-700.0 + 6.0 * HIGH_PEAK)
    assert view.current == HIGH_PEAK
    assert view._ui.evidenceChart.pixmap.toImage() != before
    assert "score for COVID-19 0.90, lesions 18.0 % of its lung" in view._ui.evidenceLabel.text
    assert "(I 520.0 mm)" in view._ui.evidenceLabel.text
    slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode().SetSliceOffset(-697.0 + 6.0 * SIZES[2])
    assert view.current is None
    assert "no slice of this study" in view._ui.evidenceLabel.text
    slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode().SetSliceOffset(-700.0)
    assert "took no part" in view._ui.evidenceLabel.text


def test_buttons_go_from_peak_to_peak(view: Any, press: Any) -> None:
    ui = view._ui
    view.go(20)
    visited = []
    for button in (ui.nextPeakButton, ui.nextPeakButton, ui.previousPeakButton, ui.previousPeakButton):
        press(button)
        visited.append(view.current)
    assert visited == [HIGH_PEAK, LOW_PEAK, HIGH_PEAK, LOW_PEAK]
    press(ui.strongestButton)
    assert view.current == HIGH_PEAK
    x = slicer.app.layoutManager().sliceWidget("Yellow").mrmlSliceNode().GetSliceOffset()
    assert abs(x) == pytest.approx(82.5)  # the point, not only its slice
    middle = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode().GetSliceToRAS()
    assert middle.GetElement(0, 3) == pytest.approx(0.0, abs=3.0)  # and the study stays where it is in the view


def test_without_a_point_the_strongest_is_a_slice(view: Any, press: Any) -> None:
    from CovidBertLib import result

    document = no_lesions()
    document["location_map"] = None
    view.show(view._volume, result.parse(document))
    press(view._ui.strongestButton)
    assert view.current == HIGH_PEAK
    document["location_map"] = {**calibrated()["location_map"], "peak_slice": 0}  # a slice that took no part
    view.go(20)
    view.show(view._volume, result.parse(document))
    press(view._ui.strongestButton)
    assert view.current == HIGH_PEAK
    document["location_map"] = None
    for evidence in document["slice_evidence"]:
        evidence["location_share"] = 0.0
    view.show(view._volume, result.parse(document))
    assert not view._ui.strongestButton.enabled
    assert not view._ui.nextPeakButton.enabled


def test_nothing_is_left_behind(view: Any) -> None:
    """A view that moves after the volume has gone, or the module, reaches nobody."""
    node = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    slicer.mrmlScene.RemoveNode(view._volume)
    assert view.chart is None
    assert view.current is None
    node.SetSliceOffset(3.0)
    click(view, 100.0)
    view.step(1)
    view.strongest()
    assert not [each for each in view._section.Observations if each[2] == view.follow]
