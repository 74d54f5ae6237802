"""The comparison of a corrected mask with the automatic one, made beside the window, and the table that shows it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import qt
import slicer

from .. import correction
from ..comparison import Comparison, SegmentComparison, read_comparison
from ..i18n import tr as _
from ..masks import MaskCopy
from ..problems import CovidBertError
from ..process import Failure, Progress
from .preparing import Preparation
from .tables import fit_height, set_columns, set_row, text_cell

if TYPE_CHECKING:
    from .context import Panel


class Comparing:
    """Compares masks as they are when it is started; they can be edited meanwhile.

    Parameters
    ----------
    panel
        What the sections share.
    table
        A QTableWidget.
    label
        A QLabel for what the numbers are.
    changed
        Called with None when a comparison begins or ends, and with the `Progress` in between.
    """

    def __init__(self, panel: Panel, table: Any, label: Any, changed: Callable[[Progress | None], None]) -> None:
        self._panel, self._table, self._label, self._changed = panel, table, label, changed
        #: Counts the comparisons that were begun or forgotten: what belongs to an earlier one is dropped.
        self._number = 0
        self._preparation: Preparation | None = None
        self.is_running = False
        set_columns(table, [_("Segment"), _("Dice"), _("ml (change)"), _("Mean mm"), _("95 % mm")])
        self._hide()

    def start(
        self,
        before: slicer.vtkMRMLSegmentationNode,
        after: slicer.vtkMRMLSegmentationNode,
        volume: slicer.vtkMRMLScalarVolumeNode,
        mask: str,
    ) -> None:
        """Compare two segmentations of a volume.

        Parameters
        ----------
        before, after
            The automatic and the corrected one.
        volume
            Their volume.
        mask
            ``lungs`` or ``lesions``.
        """
        if self.is_running:
            return
        self._hide()
        self._number += 1
        number, self.is_running = self._number, True
        self._panel.messages.clear()
        self._changed(None)
        # First the window says what is done.
        qt.QTimer.singleShot(0, self._panel.guarded(lambda: self._copy(number, before, after, volume, mask)))

    def cancel(self) -> None:
        """Compare no longer."""
        if self._preparation is not None:
            self._preparation.cancel()
        elif self.is_running:
            self._stopped()

    def forget(self) -> None:
        """Show nothing, and compare no longer: the mask is another one."""
        self._hide()
        self._number += 1
        if self._preparation is not None:
            self._preparation.abandon()
        if self.is_running:
            self._end()
            self._panel.messages.attention(
                _("The mask was removed, or another one was chosen: the comparison was dropped.")
            )

    def close(self) -> None:
        """The panel goes."""
        self._number += 1
        if self._preparation is not None:
            self._preparation.abandon()

    def _copy(self, number: int, before: Any, after: Any, volume: Any, mask: str) -> None:
        if number != self._number or not self.is_running:
            return
        folder = None
        try:
            folder = self._panel.new_folder()
            copies = [MaskCopy(before, volume, folder, mask, "before"), MaskCopy(after, volume, folder, mask, "after")]
        except CovidBertError:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            self._end()
            raise

        def finish(found: dict[str, Any]) -> None:
            shutil.rmtree(folder, ignore_errors=True)
            self._end()
            if found["problem"] is not None:
                raise copies[found["of"] == "after"].problem(found["problem"])
            is_current = all(copy.is_current() for copy in copies)
            comparison = read_comparison(found, mask, copies[0].voxel_milliliters)
            self._show(comparison, is_current=is_current, is_as_sent=bool(found["is_as_sent"]))

        def fail(failure: Failure) -> None:
            self._end()
            self._panel.messages.failure(failure)

        def order() -> dict[str, Any]:
            return {
                "kind": "compare",
                "before": copies[0].order,
                "after": copies[1].order,
                "as_sent": correction.as_sent(before),
            }

        self._preparation = Preparation(
            self._panel,
            folder,
            copies,
            order,
            done=finish,
            failed=fail,
            cancelled=self._stopped,
            progress=self._changed,
        )
        self._preparation.start()

    def _stopped(self) -> None:
        self._end()
        self._panel.messages.attention(_("The comparison was cancelled. Your correction is unchanged."))

    def _end(self) -> None:
        self._preparation, self.is_running = None, False
        self._changed(None)

    def _show(self, comparison: Comparison, *, is_current: bool, is_as_sent: bool) -> None:
        self._table.setRowCount(len(comparison.segments))
        for row, segment in enumerate(comparison.segments):
            set_row(self._table, row, [text_cell(text) for text in _texts(segment)])
        self._table.setVisible(True)
        fit_height(self._table, len(comparison.segments))
        text = _("{count} voxels differ. Dice: 1 is equal. Distances: mean and 95th percentile between the surfaces.")
        lines = [text.format(count=comparison.changed_voxels)]
        if not is_current:
            lines.append(_("Edited since: these are the numbers of the mask as it was when Compare was pressed."))
        if not is_as_sent:
            # It stays the baseline: what the server sent is not kept a second time.
            lines.append(
                _(
                    "The automatic mask was changed in the scene: it is no longer the mask that the server sent. "
                    "Classify the volume again for one as the server makes it."
                )
            )
        self._label.text = " ".join(lines)
        self._label.setVisible(True)

    def _hide(self) -> None:
        self._table.setVisible(False)
        self._label.setVisible(False)


def _texts(segment: SegmentComparison) -> list[str]:
    def shown(value: float | None, digits: int) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    return [
        segment.kind.name,
        shown(segment.dice, 3),
        f"{segment.after_ml:.0f} ({segment.change_ml:+.0f})",
        shown(segment.mean_distance_mm, 2),
        shown(segment.distance_95_mm, 2),
    ]
