"""The section with the server's studies: who labelled what, and which one is next."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import slicer

from .. import correction
from ..i18n import tr as _
from ..problems import SceneError
from ..process import Progress, Task
from .section import Section
from .stages import progress_text
from .study_label import certainty_name, class_name
from .tables import mark_row, row_key, selected_key, set_columns, set_row, text_cell

# Lungs and soft tissue are both seen.
_WINDOW_HU, _LEVEL_HU = 1500.0, -500.0
_FINAL = "final"


class Worklist(Section):
    """Studies of the server."""

    form = "Worklist"
    button = "worklistSection"

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        self._studies: list[dict[str, Any]] = []
        self._listed_from: dict[str, Any] | None = None
        self._skipped: set[str] = set()
        self._offered: Any = None
        self._task: Task | None = None

    def setup(self) -> None:
        """Prepare table and buttons."""
        set_columns(self.ui.studyTable, [_("Study"), _("Mask by"), _("Study label by")], lines=2)
        self.ui.refreshButton.connect("clicked()", self.panel.guarded(self.update))
        self.ui.nextButton.connect("clicked()", self.panel.guarded(self._next))
        self.ui.skipButton.connect("clicked()", self.panel.guarded(self._skip))
        self.ui.openButton.connect("clicked()", self.panel.guarded(self._open_selected))
        self.ui.studyTable.connect(
            "cellDoubleClicked(int,int)", self.panel.guarded(lambda *_cell: self._open_selected())
        )
        self.ui.studyTable.connect("itemSelectionChanged()", self.panel.guarded(self._selected))
        self.ui.cancelButton.connect("clicked()", self._cancel)
        self.opener.connect("contentsCollapsed(bool)", self.panel.guarded(self._unfolded))

    def refresh(self) -> None:
        """Show what the server in use offers."""
        server = self.panel.server
        if server is not self._listed_from:
            self._listed_from, self._studies = server, []
            self._skipped.clear()
            self._show_studies()
        if self._offered is not self.panel.offer:
            self._offered = self.panel.offer
            self.ui.strategySelector.clear()
            for name in self.panel.offer.get("strategies", ()):
                self.ui.strategySelector.addItem(_strategy_name(name), name)
        is_idle = self._task is None
        may_write = "annotator" in self.panel.offer.get("roles", ())
        can_ask = server is not None and is_idle
        self.ui.refreshButton.enabled = can_ask
        self.ui.openButton.enabled = can_ask and selected_key(self.ui.studyTable) is not None
        self.ui.nextButton.enabled = can_ask and may_write and self.ui.strategySelector.count > 0
        self.ui.strategySelector.enabled = self.ui.nextButton.isEnabled()
        self.ui.skipButton.enabled = self.ui.nextButton.isEnabled() and self._image() is not None
        self.ui.cancelButton.setVisible(not is_idle)
        self.ui.progressLabel.setVisible(not is_idle)
        self.ui.stateLabel.text = self._state(may_write)
        self.ui.stateLabel.setVisible(bool(self.ui.stateLabel.text))
        labelled = sum(_FINAL in study["labels"] for study in self._studies)
        self.ui.labelledBar.setVisible(bool(self._studies))
        self.ui.labelledBar.setRange(0, max(1, len(self._studies)))
        self.ui.labelledBar.setValue(labelled)
        self.ui.labelledBar.setFormat(_("%v of %m studies have a mask"))

    def update(self) -> None:
        """Ask the server again which studies there are."""
        if self.panel.server is not None and self._task is None:
            self._start({"kind": "studies"}, self._listed)

    # ------------------------------------------------------------------ state

    def _image(self) -> str | None:
        server = self.panel.server
        return None if server is None else correction.image_of(self.panel.volume, server["url"])

    def _state(self, may_write: bool) -> str:
        if self.panel.server is None:
            return _("To see the server's studies, connect to it.")
        if not may_write:
            return _("Your token may read only: open studies from the list. Next needs the role annotator.")
        image = self._image()
        return "" if image is None else _("Open: {image}").format(image=image)

    def _listed(self, result: dict[str, Any]) -> None:
        self._studies, self._listed_from = result["studies"], self.panel.server
        self._show_studies()

    def _show_studies(self) -> None:
        table, chosen = self.ui.studyTable, selected_key(self.ui.studyTable)
        table.setSortingEnabled(False)
        table.setRowCount(len(self._studies))
        for row, study in enumerate(self._studies):
            final, spoken = study["labels"].get(_FINAL), study["study_label"]
            cells = [text_cell(study["id"]), text_cell(_mark_text(final)), text_cell(_mark_text(spoken))]
            mark_row(cells[0], study["id"])
            set_row(table, row, cells)
        table.setSortingEnabled(True)
        table.clearSelection()
        for row in range(len(self._studies)):
            if row_key(table, row) == chosen:
                table.selectRow(row)

    def _unfolded(self, is_collapsed: bool) -> None:
        if not is_collapsed and not self._studies:
            self.update()

    # ------------------------------------------------------------------- next

    def _next(self) -> None:
        strategy = str(self.ui.strategySelector.currentData or "")
        self._start({"kind": "next", "strategy": strategy, "fetch": False}, self._chosen)

    def _skip(self) -> None:
        image = self._image()
        if image is not None:
            self._skipped.add(image)
        self._next()

    def _chosen(self, result: dict[str, Any]) -> None:
        image = result["image"]
        if image is None:
            self.panel.messages.good(_("No study is left: all have a mask, or are reserved for other readers."))
        elif image not in self._skipped:
            if result["note"]:
                self.panel.messages.attention(result["note"])
            self._open(image)
        else:
            # The strategy comes back to what was skipped here: any other one without a mask will do.
            self._start({"kind": "studies"}, self._instead)

    def _instead(self, result: dict[str, Any]) -> None:
        self._listed(result)
        left = [study["id"] for study in self._studies if _FINAL not in study["labels"]]
        image = next((image for image in left if image not in self._skipped), None)
        if image is None:
            self._skipped.clear()
            self.panel.messages.attention(
                _("Only skipped studies are left."),
                _("Press Next to go through them again, or open one from the list."),
            )
        else:
            self._open(image)

    # ------------------------------------------------------------------- open

    def _open_selected(self) -> None:
        image = selected_key(self.ui.studyTable)
        if image is not None and self._task is None:
            self._open(image)

    def _open(self, image: str) -> None:
        server = self.panel.server
        known = None if server is None else correction.volume_of_image(server["url"], image)
        if known is not None:
            self._show_volume(known)
            return
        self._start({"kind": "fetch", "image": image}, self._fetched)

    def _fetched(self, result: dict[str, Any]) -> None:
        image, server = result["image"], self.panel.server
        try:
            volume = slicer.util.loadVolume(result["file"], {"name": image, "singleFile": True, "show": False})
        except RuntimeError:
            raise SceneError(
                _("{file} of {image} cannot be read here.").format(file=Path(result["file"]).name, image=image),
                _("Open the study from where it comes from."),
            ) from None
        # The file goes at once. A volume without one is written when the scene is saved.
        storage = volume.GetStorageNode()
        volume.SetAndObserveStorageNodeID(None)
        if storage is not None:
            slicer.mrmlScene.RemoveNode(storage)
        if server is not None:
            correction.remember_image(volume, server["url"], image)
        display = volume.GetDisplayNode()
        if display is not None:
            display.AutoWindowLevelOff()
            display.SetWindowLevel(_WINDOW_HU, _LEVEL_HU)
        self._show_volume(volume)

    def _show_volume(self, volume: slicer.vtkMRMLScalarVolumeNode) -> None:
        slicer.util.setSliceViewerLayers(background=volume, fit=True)
        self.panel.set_volume(volume)
        correct: Any = self.panel.section("Correct")
        correct.label_form.clear()

    # ------------------------------------------------------------ study label

    def _selected(self) -> None:
        self.refresh()
        image = selected_key(self.ui.studyTable)
        study = next((study for study in self._studies if study["id"] == image), None)
        if study is not None and study["study_label"] is not None and self._task is None:
            order = {"kind": "study_label_get", "image": image}
            self.panel.start(order, done=lambda result: self._say(image, result), quiet=True)

    def _say(self, image: str | None, result: dict[str, Any]) -> None:
        label = result["study_label"]
        if label is not None and image is not None and selected_key(self.ui.studyTable) == image:
            text = _("{image}: {study_class}, {certainty} ({author})").format(
                image=image,
                study_class=class_name(label["study_class"]),
                certainty=certainty_name(label["certainty"]),
                author=label["author"],
            )
            comment = label["comment"]
            self.ui.stateLabel.text = f"{text}. {comment}" if comment else text
            self.ui.stateLabel.setVisible(True)

    # ------------------------------------------------------------------ tasks

    def _start(self, order: dict[str, Any], then: Callable[[dict[str, Any]], None]) -> None:
        """Start an order; what follows from its result may start the next one."""
        server = self.panel.server

        def done(result: dict[str, Any]) -> None:
            if self._task is task:
                self._task = None
                try:
                    # A study is known by its server's id: that of another one would be taken for it.
                    if server is not None and self.panel.is_connected_to(server["url"]):
                        then(result)
                finally:
                    self.refresh()

        def over(*_what: Any) -> None:
            if self._task is task:
                self._task = None
                self.refresh()

        task = self.panel.start(order, done=done, failed=over, cancelled=over, progress=self._progress)
        self._task = task
        self.ui.progressLabel.text = _("Asking the server …")
        self.refresh()

    def _progress(self, progress: Progress) -> None:
        text = progress_text(progress)
        share = "" if progress.fraction is None else f" {100 * progress.fraction:.0f} %"
        self.ui.progressLabel.text = f"{text}{share}"

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


def _strategy_name(name: str) -> str:
    names = {
        "first": _("In order"),
        "random": _("At random"),
        "uncertainty": _("The least certain"),
        "diversity": _("The least like the others"),
        "mixed": _("Uncertain and unlike the others"),
    }
    return names.get(name, name)


def _mark_text(mark: dict[str, Any] | None) -> str:
    if mark is None:
        return "–"
    time = mark["time"]
    day = "" if time is None else datetime.fromtimestamp(time).strftime("%Y-%m-%d %H:%M")
    return f"{mark['author'] or _('unknown')}\n{day}".strip()
