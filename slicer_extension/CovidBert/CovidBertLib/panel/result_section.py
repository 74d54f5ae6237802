"""The section with the result: card, evidence, what the views show of it, measurements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import slicer
import vtk

from .. import overlay, scene
from ..card import ATTENTION, ERROR, GOOD, Card, Notice, card_of, time_text
from ..i18n import tr as _
from ..painting import BAR_ROW, SCALE_HEIGHT, paint_bars, paint_probability
from ..problems import CovidBertError
from ..result import Result
from ..scene import Shown
from ..stored import outdated_words
from ..visibility import show_only
from . import colors, measurement_table
from .events import WidgetEvents
from .evidence import EvidenceView
from .paint import paint_into
from .section import Section

if TYPE_CHECKING:
    from .context import Panel

_COLORS = {GOOD: colors.GOOD, ATTENTION: colors.ATTENTION, ERROR: colors.ERROR}
_PARTS = ("lungs", "lesions", "location")


class ResultSection(Section):
    """Shows `Panel.shown_result` and lets one choose among the results of a volume."""

    form = "Result"
    button = "resultSection"

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self.evidence: EvidenceView | None = None
        self.card: Card | None = None
        self._result: Result | None = None
        self._shown: Shown | None = None
        self._choices: list[Shown] = []
        self._is_setting = False
        self._events: list[WidgetEvents] = []

    def setup(self) -> None:
        """Connect the widgets."""
        self.evidence = EvidenceView(self)
        measurement_table.set_up(self.ui.measurementTable)
        # The probability gets its width later than the scores where it was hidden before.
        self._events = [
            WidgetEvents(label, self.paint_scores) for label in (self.ui.probabilityLabel, self.ui.scoresLabel)
        ]
        self.ui.resultSelector.connect("currentIndexChanged(int)", self._choose)
        for part in _PARTS:
            getattr(self.ui, part + "Check").connect("toggled(bool)", lambda on, part=part: self._toggle(part, on))
        self.ui.thresholdSlider.connect("valueChanged(double)", self._set_threshold)
        self.ui.originButton.connect("toggled(bool)", self.ui.originLabel.setVisible)
        self.ui.originLabel.setVisible(False)

    def refresh(self) -> None:
        """Show the result of the panel, where it is another than before."""
        shown, result = self.panel.shown, self.panel.shown_result
        self._list_results()
        if result is not self._result or shown is not self._shown:
            self._result, self._shown = result, shown
            self.card = None if result is None else card_of(result)
            # First, while they cannot be seen: a label that is hidden while its box is being shown stays on show.
            self._show_card()
            self.ui.resultBox.setVisible(result is not None)
            self.ui.emptyLabel.setVisible(result is None)
            self.evidence.show(self.panel.volume if result is not None else None, result)
            measurement_table.fill(self.ui.measurementTable, result)
            self._observe_parts()
            if result is not None:
                self.opener.collapsed = False
                self.enter()
        self.follow_parts()

    def enter(self) -> None:
        """Another module may have changed the volume meanwhile."""
        shown = self.panel.shown
        if shown is not None and shown.is_outdated:
            self.panel.messages.attention(*outdated_words(self.panel.volume))

    def scene_closed(self) -> None:
        """Forget the nodes that are gone."""
        self.removeObservers()
        self._result = self._shown = None
        self.evidence.show(None, None)
        self.ui.resultBox.setVisible(False)
        self.ui.emptyLabel.setVisible(True)

    def cleanup(self) -> None:
        """The module goes."""
        if self.evidence is not None:
            self.evidence.close()
        for events in self._events:
            events.let_go()
        super().cleanup()

    # ------------------------------------------------------------------ card

    def paint_scores(self) -> None:
        """Paint probability and score bars as wide as the panel is."""
        card = self.card
        if card is None:
            return
        known = card.calibrated
        if known is not None:
            paint_into(
                self.ui.probabilityLabel,
                SCALE_HEIGHT,
                lambda painter, width, look: paint_probability(
                    painter, known.probability, known.threshold, (0.0, 0.0, width), look
                ),
            )
        paint_into(
            self.ui.scoresLabel,
            BAR_ROW * len(card.bars),
            lambda painter, width, look: paint_bars(painter, card.bars, 0.0, 0.0, width, look),
        )

    def _show_card(self) -> None:
        card = self.card
        if card is None:
            return
        self.ui.cardResearchLabel.text = card.research_use_only
        _notice(self.ui.bannerLabel, card.banner)
        self.ui.headingLabel.text = card.heading
        self.ui.probabilityLabel.setVisible(card.calibrated is not None)
        self.ui.calibrationLabel.text = "\n".join(card.calibration)
        self.ui.scoresTitle.text = card.bars_title
        self.ui.stagesLabel.text = "\n".join(f"• {stage}" for stage in card.stages)
        _notice(self.ui.agreementLabel, card.agreement)
        _notice(self.ui.likenessLabel, card.likeness)
        _notice(self.ui.warningsLabel, Notice("\n".join(card.warnings), ATTENTION) if card.warnings else None)
        trained_on = [_("Trained on:"), *card.weights_origin] if card.weights_origin else []
        self.ui.originLabel.text = "\n".join([card.origin, "", *card.weights, "", *trained_on])
        self.paint_scores()

    def _list_results(self) -> None:
        """Offer the results of the volume, where there are several."""
        found = scene.find(self.panel.volume) if self.panel.volume is not None else []
        self.ui.resultChoice.setVisible(len(found) > 1)
        selector, self._is_setting = self.ui.resultSelector, True
        try:
            if [each.record for each in found] != [each.record for each in self._choices]:
                self._choices = found
                selector.clear()
                for each in found:
                    selector.addItem(_record_words(each))
            chosen = [each.record for each in found]
            if self.panel.shown is not None and self.panel.shown.record in chosen:
                selector.setCurrentIndex(chosen.index(self.panel.shown.record))
        finally:
            self._is_setting = False

    def _choose(self, index: int) -> None:
        if not self._is_setting and 0 <= index < len(self._choices):
            chosen, before = self._choices[index], self._node("location")
            is_overlaid = before is not None and overlay.overlay_shown(before)
            show_only(chosen)  # card and views are of one result
            if before is not None:
                overlay.hide_overlay(before)
            if is_overlaid and chosen.location is not None and self.panel.volume is not None:
                overlay.show_overlay(self.panel.volume, chosen.location)
            self.panel.set_shown(chosen)

    # ----------------------------------------------------------------- views

    def follow_parts(self, *_event: Any) -> None:
        """Let the boxes say what the views show; other modules can change it."""
        self._is_setting = True
        try:
            for part in _PARTS:
                box, node = getattr(self.ui, part + "Check"), self._node(part)
                box.enabled = node is not None
                box.setChecked(node is not None and self._is_shown(part, node))
            location = self._node("location")
            self.ui.thresholdSlider.enabled = location is not None
            if location is not None:
                self.ui.thresholdSlider.value = location.GetDisplayNode().GetLowerThreshold()
        finally:
            self._is_setting = False

    def _node(self, part: str) -> Any:
        node = getattr(self.panel.shown, part) if self.panel.shown is not None else None
        there = node is not None and node.GetScene() is not None and node.GetDisplayNode() is not None
        return node if there else None

    def _is_shown(self, part: str, node: Any) -> bool:
        return overlay.overlay_shown(node) if part == "location" else bool(node.GetDisplayNode().GetVisibility())

    def _toggle(self, part: str, on: bool) -> None:
        node = self._node(part)
        if self._is_setting or node is None:
            return
        if part != "location":
            node.GetDisplayNode().SetVisibility(on)
        elif on and self.panel.volume is not None:
            overlay.show_overlay(self.panel.volume, node)
        else:
            overlay.hide_overlay(node)

    def _set_threshold(self, percent: float) -> None:
        node = self._node("location")
        if not self._is_setting and node is not None:
            overlay.set_threshold(node, percent)

    def _observe_parts(self) -> None:
        """Observe what decides whether a part is shown."""
        nodes = [self._node(part).GetDisplayNode() for part in _PARTS if self._node(part) is not None]
        nodes += slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode") if nodes else []
        for observed in [each for each in self.Observations if each[2] == self.follow_parts]:
            self.removeObserver(observed[0], observed[1], self.follow_parts)
        for node in nodes:
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self.follow_parts)


def _notice(label: Any, notice: Notice | None) -> None:
    """Show a sentence in its colour, or hide the line."""
    label.setVisible(notice is not None)
    if notice is not None:
        label.text = notice.text
        name = label.objectName
        weight = "bold" if notice.level == ERROR else "normal"
        label.setStyleSheet(
            f"{colors.tint(name, _COLORS[notice.level])} #{name} {{ padding: 4px; font-weight: {weight}; }}"
        )


def _record_words(shown: Shown) -> str:
    """Return the line of a result in the list: when it was made, and with what."""
    try:
        known = shown.result().provenance
    except CovidBertError:
        return _("A result that cannot be read")
    return f"{time_text(known.created)}, {known.system} ({known.configuration})"
