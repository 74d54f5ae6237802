"""The section that saves a report, without a window that pops up."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import ctk

from .. import pictures, report
from ..i18n import tr as _
from ..stored import outdated_words
from .section import Section


class ReportSection(Section):
    """Saves what the card says, the views, the evidence and the measurements as files."""

    form = "Report"
    button = "reportSection"

    def setup(self) -> None:
        """Connect the widgets."""
        self.ui.folderEdit.filters = ctk.ctkPathLineEdit.Dirs
        self.ui.saveButton.connect("clicked()", self.panel.guarded(self.save))
        for box in self._boxes().values():
            box.connect("toggled(bool)", self.refresh)
        self.ui.savedLabel.setVisible(False)

    def refresh(self) -> None:
        """Say what is missing before a report can be saved."""
        hint = ""
        if self.panel.shown_result is None:
            hint = _("There is no result to report. Choose a volume in the section Study and press Classify.")
            self.ui.savedLabel.setVisible(False)
        elif not self._kinds():
            hint = _("Choose what to save: PDF, JSON or CSV.")
        self.ui.reportHint.text = hint
        self.ui.reportHint.setVisible(bool(hint))
        self.ui.saveButton.enabled = not hint

    def save(self) -> None:
        """Save the files into the folder that the panel names."""
        result, volume = self.panel.shown_result, self.panel.volume
        if result is None or volume is None:
            return
        if self.panel.shown is not None and self.panel.shown.is_outdated:
            # Its views would show another image than the one that was classified.
            raise report.ReportError(*outdated_words(volume), "volume-changed")
        folder = str(self.ui.folderEdit.currentPath).strip()
        if not folder:
            raise report.ReportError(
                _("No folder is chosen for the report."), _("Choose one in the line Folder."), "missing-folder"
            )
        private = self.panel.new_folder()
        kinds = self._kinds()
        try:
            views = pictures.grab(volume, private) if report.PDF in kinds else []
            saved = report.save(result, Path(folder).expanduser(), kinds, views, private)
        finally:
            shutil.rmtree(private, ignore_errors=True)
        self.ui.folderEdit.addCurrentPathToHistory()
        self.ui.savedLabel.text = _("Saved:") + "\n" + "\n".join(path.name for path in saved)
        self.ui.savedLabel.setVisible(True)
        if report.PDF in kinds and not views:
            self.panel.messages.attention(
                _("The report was saved without views: no slice view shows the study."),
                _("Show the volume in the slice views and save again for a report with pictures."),
            )
        else:
            self.panel.messages.good(_("The report was saved in {folder}.").format(folder=folder))

    def _boxes(self) -> dict[str, Any]:
        return {report.PDF: self.ui.pdfCheck, report.JSON: self.ui.jsonCheck, report.CSV: self.ui.csvCheck}

    def _kinds(self) -> list[str]:
        return [kind for kind, box in self._boxes().items() if box.isChecked()]
