"""The evidence chart in the panel: it follows the slice views, and a click moves them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import qt
import slicer
import vtk

from .. import views
from ..card import finding_name
from ..chart import EvidenceChart
from ..geometry import patient_to_scene
from ..i18n import tr as _
from ..result import Result
from ..result_parts import SliceEvidence
from .events import WidgetEvents
from .paint import paint_into

if TYPE_CHECKING:
    from .section import Section

_SLICE_NODE = "vtkMRMLSliceNode"


class EvidenceView:
    """Chart, the line below it and the three buttons.

    Parameters
    ----------
    section
        Whose form has ``evidenceChart``, ``evidenceLabel`` and the buttons; its observers are used.
    """

    def __init__(self, section: Section) -> None:
        self._section, self._ui = section, section.ui
        self._volume: slicer.vtkMRMLScalarVolumeNode | None = None
        self._result: Result | None = None
        self.chart: EvidenceChart | None = None
        #: Slice that the views show; None outside of the study.
        self.current: int | None = None
        self._ui.evidenceChart.setCursor(qt.QCursor(qt.Qt.PointingHandCursor))
        self._events = WidgetEvents(self._ui.evidenceChart, self.paint, self.clicked)
        self._ui.previousPeakButton.connect("clicked()", lambda: self.step(-1))
        self._ui.nextPeakButton.connect("clicked()", lambda: self.step(1))
        self._ui.strongestButton.connect("clicked()", self.strongest)

    def show(self, volume: slicer.vtkMRMLScalarVolumeNode | None, result: Result | None) -> None:
        """Show the evidence of a result, or none."""
        self._volume, self._result = volume, result
        self.chart = None if result is None else EvidenceChart(result)
        self._observe(result is not None)
        self.current = self._shown()
        peaks = self.chart.peaks if self.chart is not None else []
        for button in (self._ui.previousPeakButton, self._ui.nextPeakButton):
            button.enabled = bool(peaks)
        self._ui.strongestButton.enabled = self._strongest_slice() is not None
        self.paint()

    def close(self) -> None:
        """Forget nodes and the chart."""
        self._observe(False)
        self._events.let_go()
        self._volume = self._result = self.chart = None

    def clicked(self, place: float) -> None:
        """Move the views to the slice at a place of the chart, in pixels from its left."""
        if self.chart is None:
            return
        index = self.chart.slice_at(place, 0.0, self._ui.evidenceChart.width)
        if index is not None:
            self.go(index)

    def go(self, index: int) -> None:
        """Move the views to a slice of the study."""
        if self._volume is not None and self._volume.GetScene() is not None:
            views.jump_to_slice(self._volume, index)

    def step(self, direction: int) -> None:
        """Go to the next evidence slice: 1 towards the head, -1 towards the feet; after the last comes the first."""
        if self.chart is None or not self.chart.peaks:
            return
        here = self.current if self.current is not None else (-1 if direction > 0 else self.chart.count)
        ahead = [peak for peak in self.chart.peaks if (peak - here) * direction > 0]
        self.go((ahead or self.chart.peaks)[0 if direction > 0 else -1])

    def strongest(self) -> None:
        """Go to the point where the location map is highest, else to the slice with the most evidence."""
        index, point = self._strongest_slice(), self._peak_point()
        if self._volume is None or index is None:
            return
        if point is None:
            self.go(index)
            return
        # Through the point, but not centred on it: the study stays where it is in the views.
        place = patient_to_scene(self._volume, np.array(point, float))
        slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *place, slicer.vtkMRMLSliceNode.OffsetJumpSlice)

    def follow(self, *_event: Any) -> None:
        """A slice view has moved: mark its slice."""
        current = self._shown()
        if current != self.current:
            self.current = current
            self.paint()

    def paint(self) -> None:
        """Paint chart and line anew."""
        chart, current = self.chart, self.current
        if chart is None:
            return
        paint_into(
            self._ui.evidenceChart,
            chart.height,
            lambda painter, width, look: chart.paint(painter, 0.0, 0.0, width, look, current),
        )
        self._ui.evidenceLabel.text = self._words()

    def _shown(self) -> int | None:
        if self._volume is None or self._volume.GetScene() is None or self._volume.GetImageData() is None:
            return None
        return views.shown_slice(self._volume)

    def _observe(self, wanted: bool) -> None:
        """Observe the slice views, those of a scene that was loaded as well."""
        nodes = slicer.util.getNodesByClass(_SLICE_NODE) if wanted else []
        for observed in [each for each in self._section.Observations if each[2] == self.follow]:
            if observed[0] not in nodes:
                self._section.removeObserver(observed[0], observed[1], self.follow)
        for node in nodes:
            if not self._section.hasObserver(node, vtk.vtkCommand.ModifiedEvent, self.follow):
                self._section.addObserver(node, vtk.vtkCommand.ModifiedEvent, self.follow)

    def _strongest_slice(self) -> int | None:
        if self._result is None or self.chart is None:
            return None
        location = self._result.location
        if location is not None and location.peak_slice in self.chart.used:
            return location.peak_slice
        values = self.chart.peaks_of.values if self.chart.peaks_of is not None else {}
        known = {index: value for index, value in values.items() if value is not None}
        return max(known, key=lambda index: known[index]) if known else None

    def _peak_point(self) -> tuple[float, ...] | None:
        """Return the map's highest point; none in a slice that took no part, where the chart shows no evidence."""
        location = self._result.location if self._result is not None else None
        there = location is not None and self.chart is not None and location.peak_slice in self.chart.used
        return location.peak_ras_mm if there else None

    def _words(self) -> str:
        """Say what is known of the slice on show."""
        if self._result is None or self.chart is None:
            return ""
        if self.current is None:
            return _("The views show no slice of this study. Click into the chart to go to one.")
        evidence = next((each for each in self._result.slices if each.index == self.current), None)
        number = _("Slice {number} of {count}").format(number=self.current + 1, count=self.chart.count)
        if evidence is None:
            return _("{slice}: took no part").format(slice=number)
        return number + slice_words(evidence, finding_name(self._result))


def slice_words(evidence: SliceEvidence, finding: str) -> str:
    """Return position, score and shares of a slice as one sentence that goes on from its number."""
    parts = []
    if evidence.score is not None:
        parts.append(_("score for {name} {score:.2f}").format(name=finding, score=evidence.score))
    if evidence.lesion_share is not None:
        parts.append(_("lesions {percent:.1f} % of its lung").format(percent=100 * evidence.lesion_share))
    parts.append(_("{percent:.1f} % of the location map").format(percent=100 * evidence.location_share))
    place = ""
    if evidence.position_mm is not None:
        place = f" ({'S' if evidence.position_mm >= 0 else 'I'} {abs(evidence.position_mm):.1f} mm)"
    return f"{place}: " + ", ".join(parts)
