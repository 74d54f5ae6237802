"""Section "Shortcuts and help": keys, and what they do."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import qt

from .. import overlay, views
from ..i18n import tr as _
from .section import Section

if TYPE_CHECKING:
    from .classify import Classify
    from .context import Panel

_CLASSIFY, _EVIDENCE, _OVERLAYS = "Ctrl+Shift+C", "Ctrl+Shift+E", "Ctrl+Shift+L"


class Help(Section):
    """The keys work while the module is on show, wherever in the window the mouse is."""

    form = "Help"
    button = "helpSection"

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self._shortcuts: list[Any] = []
        self._record: Any = None
        self._place = -1

    def setup(self) -> None:
        """Make the keys and list them."""
        keys = [
            (_CLASSIFY, self._classify, _("Classify the volume")),
            (_EVIDENCE, self.next_evidence, _("Go to the next slice that carried the decision, the strongest first")),
            (_OVERLAYS, self.toggle_overlays, _("Hide or show lungs, lesions and location map")),
        ]
        for key, function, _meaning in keys:
            # Of the whole panel: Qt lets it work anywhere in the window while the panel is visible.
            shortcut = qt.QShortcut(self.panel.widget)
            shortcut.setKey(qt.QKeySequence(key))
            shortcut.connect("activated()", self.panel.guarded(function))
            self._shortcuts.append(shortcut)
        rows = "".join(
            f'<tr><td style="padding-right: 12px; white-space: nowrap;"><b>{escape(key)}</b></td>'
            f'<td style="padding-bottom: 4px;">{escape(meaning)}</td></tr>'
            for key, _function, meaning in keys
        )
        self.ui.shortcutsLabel.text = f"<table>{rows}</table>"

    def cleanup(self) -> None:
        """Let the keys go: the hidden form of a module that is reloaded lives on for a while."""
        for shortcut in self._shortcuts:
            shortcut.setEnabled(False)
        self._shortcuts = []
        self._record = None
        super().cleanup()

    def scene_closed(self) -> None:
        """Forget whose slices were gone through."""
        self._record = None

    def next_evidence(self) -> None:
        """Let the views show the slice with the next highest score."""
        panel = self.panel
        slices = () if panel.shown is None or panel.shown_result is None else panel.shown_result.slices
        scores = {evidence.index: evidence.score for evidence in slices if evidence.score is not None}
        if panel.shown is None or not scores:
            self._say_no_result()
            return
        if panel.shown.record is not self._record:
            self._record, self._place = panel.shown.record, -1
        ranked = sorted(scores, key=lambda index: -scores[index])
        self._place = (self._place + 1) % len(ranked)
        views.jump_to_slice(panel.volume, ranked[self._place])

    def toggle_overlays(self) -> None:
        """Hide all that lies over the image if any of it is visible, else show all of it."""
        shown = self.panel.shown
        if shown is None:
            self._say_no_result()
            return
        nodes = [node for node in (shown.lungs, shown.lesions) if node is not None]
        masks = [node.GetDisplayNode() for node in nodes if node.GetDisplayNode() is not None]
        has_map = shown.location is not None and overlay.overlay_shown(shown.location)
        is_visible = has_map or any(display.GetVisibility() for display in masks)
        for display in masks:
            display.SetVisibility(not is_visible)
        if shown.location is not None and is_visible:
            overlay.hide_overlay(shown.location)
        elif shown.location is not None:
            overlay.show_overlay(self.panel.volume, shown.location)
        self.panel.refresh()

    def _classify(self) -> None:
        section: Classify = self.panel.section("Classify")
        section.classify()

    def _say_no_result(self) -> None:
        self.panel.messages.attention(_("There is no result to show yet."), _("Classify the volume first."))
