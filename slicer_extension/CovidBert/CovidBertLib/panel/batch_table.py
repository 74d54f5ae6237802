"""The table of a batch: a row for each study, marked or not, sorted by number."""

from __future__ import annotations

from typing import Any

import qt

from ..batch_rows import DONE, FAILED, BatchRow, state_text
from ..i18n import tr as _
from .colors import ERROR
from .study_label import class_name
from .tables import mark_row, number_cell, row_key, set_columns, set_row, text_cell

_PERCENT = 100
_NAME_WIDTH = 120


class BatchTable:
    """Shows the rows of a batch, wherever they are sorted to.

    Parameters
    ----------
    widget
        A QTableWidget.
    """

    def __init__(self, widget: Any) -> None:
        self._widget = widget
        set_columns(widget, [_("Study"), _("State"), _("Class"), _("P %"), _("Score"), _("Lesion %")], _NAME_WIDTH)
        tips = [
            _("Marked studies are classified"),
            _("How far it is, or why it failed"),
            _("Class with the highest score"),
            _("Calibrated probability, where the server gives one"),
            _("Score of the class; not a probability"),
            _("Lesion by lung volume"),
        ]
        for column, tip in enumerate(tips):
            widget.horizontalHeaderItem(column).setToolTip(tip)

    def show(self, rows: list[BatchRow]) -> None:
        """Show these rows; those without a result are marked."""
        table = self._widget
        table.setSortingEnabled(False)
        table.blockSignals(True)
        table.setRowCount(len(rows))
        for place, row in enumerate(rows):
            set_row(table, place, self._cells(row, row.state != DONE))
        table.blockSignals(False)
        table.setSortingEnabled(True)

    def update(self, row: BatchRow) -> None:
        """Show what is known of a study now."""
        table = self._widget
        # A row moves while its cells are set, if it is sorted meanwhile.
        table.setSortingEnabled(False)
        table.blockSignals(True)
        for place in range(table.rowCount):
            if self.key(place) == str(row.number):
                marked = table.item(place, 0).checkState() == qt.Qt.Checked
                set_row(table, place, self._cells(row, marked and row.state != DONE))
        table.blockSignals(False)
        table.setSortingEnabled(True)

    def key(self, place: int) -> str | None:
        """Return the number of the study at a place, as text."""
        return row_key(self._widget, place)

    def marked(self) -> list[str]:
        """Return the numbers of the marked studies, as text, from top to bottom."""
        table = self._widget
        places = [place for place in range(table.rowCount) if table.item(place, 0).checkState() == qt.Qt.Checked]
        return [str(self.key(place)) for place in places]

    def mark_all(self, is_marked: bool) -> None:
        """Mark all studies, or none."""
        table = self._widget
        table.blockSignals(True)
        for place in range(table.rowCount):
            table.item(place, 0).setCheckState(qt.Qt.Checked if is_marked else qt.Qt.Unchecked)
        table.blockSignals(False)

    def set_markable(self, is_markable: bool) -> None:
        """Let marks be changed, or not, while a batch runs."""
        table = self._widget
        table.blockSignals(True)
        plain = qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled
        for place in range(table.rowCount):
            table.item(place, 0).setFlags(plain | qt.Qt.ItemIsUserCheckable if is_markable else plain)
        table.blockSignals(False)

    def ordered(self, rows: list[BatchRow]) -> list[BatchRow]:
        """Return rows in the order that they are sorted in."""
        known = {str(row.number): row for row in rows}
        keys = [self.key(place) for place in range(self._widget.rowCount)]
        return [known[key] for key in keys if key in known]

    def _cells(self, row: BatchRow, is_marked: bool) -> list[Any]:
        result = row.result
        first = mark_row(text_cell(row.name), str(row.number))
        first.setCheckState(qt.Qt.Checked if is_marked else qt.Qt.Unchecked)
        predicted = "" if result is None else result.predicted_class
        words = " · ".join(filter(None, (state_text(row.state), row.caution)))
        state = text_cell(words, row.message or words)
        if row.state == FAILED or row.caution:
            state.setForeground(qt.QBrush(qt.QColor(ERROR)))
        if row.state == FAILED:
            first.setToolTip(f"{row.name}: {row.message}")
        return [
            first,
            state,
            text_cell(predicted, class_name(predicted)),
            number_cell(None if row.probability is None else _PERCENT * row.probability, 1),
            number_cell(row.score, 3),
            number_cell(None if row.lesion_share is None else _PERCENT * row.lesion_share, 1),
        ]
