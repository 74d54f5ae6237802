"""The section that classifies many studies, one after the other, into one table."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import qt
import slicer

from .. import scene
from ..batch_rows import CANCELLED, DONE, FAILED, RUNNING, WAITING, BatchRow, save_csv, to_csv
from ..i18n import tr as _
from ..overlay import show_overlay
from ..problems import CovidBertError
from ..process import Failure
from ..sources import ct_series, ct_volumes, has_database, load_series
from ..visibility import hide, show_only
from .batch_table import BatchTable
from .jobs import Job
from .section import Section
from .stages import progress_text

_SCENE, _DATABASE = "scene", "database"
# After these the next study would fare no better.
_ENDING = {"unreachable", "connection-lost", "timeout", "not-allowed", "wrong-address"}


class Batch(Section):
    """Classify all volumes of the scene, or series of the DICOM database."""

    form = "Batch"
    button = "batchSection"

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        self.rows: list[BatchRow] = []
        self._table: Any = None
        self._queue: list[BatchRow] = []
        self._current: BatchRow | None = None
        self._count, self._numbers, self._url = 0, 0, ""

    def setup(self) -> None:
        """Prepare table and buttons."""
        self._table = BatchTable(self.ui.batchTable)
        self.ui.sourceSelector.addItem(_("Volumes in the scene"), _SCENE)
        self.ui.sourceSelector.addItem(_("CT series of the DICOM database"), _DATABASE)
        self.ui.sourceSelector.connect("currentIndexChanged(int)", self.panel.guarded(lambda _index: self.list_again()))
        self.ui.listButton.connect("clicked()", self.panel.guarded(self.list_again))
        for button, is_marked in ((self.ui.allButton, True), (self.ui.noneButton, False)):
            button.connect(
                "clicked()", lambda is_marked=is_marked: (self._table.mark_all(is_marked), self._show_state())
            )
        self.ui.runButton.connect("clicked()", self.panel.guarded(self._run))
        self.ui.cancelButton.connect("clicked()", self.cancel)
        self.ui.exportButton.connect("clicked()", self.panel.guarded(self._export))
        self.ui.batchTable.connect("cellClicked(int,int)", self.panel.guarded(self._clicked))
        self.ui.batchTable.connect("itemChanged(QTableWidgetItem*)", lambda _item: self._show_state())
        folder = qt.QStandardPaths.writableLocation(qt.QStandardPaths.DocumentsLocation)
        self.ui.pathEdit.currentPath = str(Path(folder) / f"covid-bert-{datetime.now():%Y%m%d}.csv")

    @property
    def is_running(self) -> bool:
        """Whether studies are being classified."""
        return self._current is not None or bool(self._queue)

    def refresh(self) -> None:
        """List the volumes anew where they changed, and set what can be pressed."""
        if self.ui.sourceSelector.currentData == _SCENE and not self.is_running:
            identifiers = [volume.GetID() for volume in ct_volumes()]
            if identifiers != [row.volume_id for row in self.rows]:
                self._list_scene()
        is_idle = not self.is_running
        for name in ("sourceSelector", "listButton", "allButton", "noneButton", "runButton"):
            getattr(self.ui, name).enabled = is_idle
        self._table.set_markable(is_idle)
        self.ui.cancelButton.setVisible(not is_idle)
        self.ui.progressBar.setVisible(not is_idle)
        self.ui.progressLabel.setVisible(not is_idle)
        self.ui.exportButton.enabled = any(row.state in (DONE, FAILED) for row in self.rows)
        self._show_state()
        if self._is_lost():
            # Its job has just ended; what came of it is told within this turn of the event loop, if at all.
            qt.QTimer.singleShot(0, self.panel.guarded(self._check_lost))

    def _show_state(self) -> None:
        """Say why nothing can be run, and set the button."""
        reason = self._obstacle()
        self.ui.stateLabel.text = reason or _("Model: {model}, as chosen in the section Study.").format(
            model=self._model()
        )
        if not self.is_running:
            self.ui.runButton.enabled = not reason and bool(self._table.marked())

    def _obstacle(self) -> str:
        if self.ui.sourceSelector.currentData == _DATABASE and not has_database():
            return _("No DICOM database is open. Open the module DICOM once, and add studies to it.")
        if not self.rows:
            return _("There is no CT of at least 8 slices here. Load studies, then list again.")
        if self.panel.server is None:
            return _("To classify, connect to a server.")
        return "" if self._model() else _("The server offers no model that classifies.")

    def _model(self) -> str:
        return str(self.panel.section("Classify").ui.modelComboBox.currentData or "")

    def list_again(self) -> None:
        """Look again which studies there are. Results of volumes in the scene are shown with them."""
        if self.is_running:
            return
        if self.ui.sourceSelector.currentData == _SCENE:
            self._list_scene()
        else:
            self.rows = [self._row(name=series.title, series=series.uid) for series in ct_series()]
            self._table.show(self.rows)
        self.panel.refresh()

    def _list_scene(self) -> None:
        before = {row.volume_id: row for row in self.rows if row.volume_id is not None}
        self.rows = []
        for volume in ct_volumes():
            row = before.get(volume.GetID()) or self._row(name=volume.GetName(), volume_id=volume.GetID())
            found = scene.find(volume)
            if found and row.result is None:
                try:
                    row.result, row.state = found[0].result(), DONE
                except CovidBertError as problem:
                    row.message, row.code = problem.message, problem.code
            self.rows.append(row)
        self._table.show(self.rows)

    def _row(self, **facts: Any) -> BatchRow:
        self._numbers += 1
        return BatchRow(self._numbers, **facts)

    # -------------------------------------------------------------------- run

    def _run(self) -> None:
        keys = self._table.marked()
        chosen = [row for key in keys for row in self.rows if str(row.number) == key]
        self.panel.may_upload(lambda: self._begin(chosen))

    def _begin(self, chosen: list[BatchRow]) -> None:
        if self.is_running:
            return
        self._queue, self._count, self._url = list(chosen), len(chosen), self.panel.server["url"]
        for row in chosen:
            row.state, row.message, row.code, row.result, row.model = WAITING, "", "", None, self._model()
            self._table.update(row)
        self.panel.messages.clear()
        self._next()

    def _next(self) -> None:
        """Start the next study; what cannot even be started is noted and left, and all if the server is another."""
        self._current = None
        if not self.panel.is_connected_to(self._url):
            self._leave(_("Not tried: the server was changed."), "server-changed")
        while self._queue and self._current is None:
            row = self._queue.pop(0)
            self._current = row
            try:
                self._start(row)
            except CovidBertError as problem:
                self._current = None
                self._note(row, FAILED, f"{problem.message} {problem.hint}", problem.code)
        if self._current is None:
            self._finish()
        self.panel.refresh()

    def _start(self, row: BatchRow) -> None:
        self._note(row, RUNNING, "")
        self._tell(row, _("Loading"), None)
        volume = slicer.mrmlScene.GetNodeByID(row.volume_id) if row.volume_id else None
        if volume is None:
            if not row.series:
                raise CovidBertError(_("The volume was removed."), _("Load it again."), "missing-node")
            volume = load_series(row.series)
            row.volume_id = volume.GetID()
        self.panel.jobs.start(
            volume,
            row.model,
            shown=lambda node, shown: self._shown(row, node, shown),
            failed=lambda failure: self._failed(row, failure),
            progress=lambda job: self._heard(row, job),
            cancelled=lambda: self._over(row, CANCELLED, ""),
        )

    def _shown(self, row: BatchRow, volume: Any, shown: scene.Shown) -> None:
        row.result = shown.result()
        if volume is not self.panel.volume:
            hide(shown)
        self._over(row, DONE, "")

    def _failed(self, row: BatchRow, failure: Failure) -> None:
        if failure.code in _ENDING or self.panel.server is None:
            self._leave(_("Not tried: {reason}").format(reason=failure.message), failure.code)
        self._over(row, FAILED, f"{failure.message} {failure.hint}", failure.code)

    def _over(self, row: BatchRow, state: str, message: str, code: str = "") -> None:
        self._note(row, state, message, code)
        if row is self._current:
            # The window may draw and hear the mouse before the next study is copied.
            qt.QTimer.singleShot(0, self.panel.guarded(self._next))

    def _is_lost(self) -> bool:
        """Say whether the current study has neither a job nor an end, as when its result could not be shown."""
        row = self._current
        volume = slicer.mrmlScene.GetNodeByID(row.volume_id) if row is not None and row.volume_id else None
        return (
            row is not None and volume is not None and row.state == RUNNING and self.panel.jobs.running(volume) is None
        )

    def _check_lost(self) -> None:
        if self._current is not None and self._is_lost():
            self._over(self._current, FAILED, self.panel.messages.text or _("It has no result."), "no-result")

    def _note(self, row: BatchRow, state: str, message: str, code: str = "") -> None:
        row.state, row.message, row.code = state, message, code
        self._table.update(row)

    def _leave(self, message: str, code: str = "") -> None:
        rows, self._queue = self._queue, []
        for row in rows:
            self._note(row, CANCELLED, message, code)

    def cancel(self) -> None:
        """Leave the studies that wait, and cancel the one that runs."""
        self._leave("")
        row = self._current
        volume = slicer.mrmlScene.GetNodeByID(row.volume_id) if row is not None and row.volume_id else None
        if volume is not None:
            self.panel.jobs.cancel(volume)

    def _heard(self, row: BatchRow, job: Job) -> None:
        self._tell(row, progress_text(job.progress), None if job.progress is None else job.progress.fraction)

    def _tell(self, row: BatchRow, stage: str, fraction: float | None) -> None:
        place = self._count - len(self._queue)
        self.ui.progressLabel.text = _("{place} of {count}: {name}. {stage}").format(
            place=place, count=self._count, name=row.name, stage=stage
        )
        self.ui.progressBar.setRange(0, 100 * max(1, self._count))
        self.ui.progressBar.setValue(round(100 * (place - 1 + (fraction or 0.0))))

    def _finish(self) -> None:
        states = [row.state for row in self.rows]
        done, failed = states.count(DONE), states.count(FAILED)
        text = _("{done} studies have a result, {failed} failed.").format(done=done, failed=failed)
        if failed:
            self.panel.messages.attention(text, _("The table says why; the tip of a row shows the whole sentence."))
        else:
            self.panel.messages.good(text)

    def _clicked(self, row: int, _column: int) -> None:
        key = self._table.key(row)
        found = next((each for each in self.rows if str(each.number) == key), None)
        volume = None if found is None or not found.volume_id else slicer.mrmlScene.GetNodeByID(found.volume_id)
        if volume is None:
            return
        slicer.util.setSliceViewerLayers(background=volume, foreground=None, fit=True)
        self.panel.set_volume(volume)
        show_only(self.panel.shown)
        shown = self.panel.shown
        if shown is not None and shown.location is not None:
            show_overlay(volume, shown.location)
        self.panel.refresh()

    def _export(self) -> None:
        path = Path(self.ui.pathEdit.currentPath.strip()).expanduser()
        if not path.is_absolute() or path.is_dir():
            raise CovidBertError(_("No file is named for the table."), _("Choose a folder and a file name."), "no-file")
        if path.exists():
            self.panel.messages.ask(
                _("{name} is there already. Replace it?").format(name=path.name),
                _("Replace"),
                _("Keep it"),
                self.panel.guarded(lambda: self._write(path)),
            )
        else:
            self._write(path)

    def _write(self, path: Path) -> None:
        rows = [row for row in self._table.ordered(self.rows) if row.state in (DONE, FAILED)]
        save_csv(path, to_csv(rows, str(self.panel.offer.get("research_use_only", "")), self.ui.namesBox.isChecked()))
        self.panel.messages.good(_("The table was written: {path}").format(path=path))

    def node_removed(self, node: slicer.vtkMRMLNode) -> None:
        """A volume that is being classified may have gone: the batch goes on with the next."""
        if not node.IsA("vtkMRMLScalarVolumeNode"):
            return
        row = self._current
        if row is not None and row.volume_id == node.GetID():
            self._over(row, FAILED, _("The volume was removed meanwhile."), "missing-node")
        self.refresh()

    def scene_closed(self) -> None:
        """All volumes are gone."""
        self._queue, self._current, self.rows = [], None, []
        self._table.show([])
