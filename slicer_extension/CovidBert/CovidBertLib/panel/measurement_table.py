"""The measurements of a result as a table."""

from __future__ import annotations

from typing import Any

import qt

from ..i18n import tr as _
from ..measurements import rows
from ..result import Result


def set_up(table: Any) -> None:
    """Give a table its columns: name, right, left, both.

    Parameters
    ----------
    table
        A ``QTableWidget``.
    """
    table.setColumnCount(4)
    table.setHorizontalHeaderLabels([_("Measurement"), _("Right"), _("Left"), _("Both")])
    header = table.horizontalHeader()
    header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
    header.setSectionsClickable(False)
    header.setHighlightSections(False)
    # Later: at this signal, as at the table's resize event, columns may still have their old widths.
    later = qt.QTimer(table)
    later.setSingleShot(True)
    later.connect("timeout()", lambda: fit(table))
    header.connect("sectionResized(int,int,int)", lambda *_sizes: later.start(0))
    table.verticalHeader().setVisible(False)


def fill(table: Any, result: Result | None) -> None:
    """Show the measurements of a result, or none; the table gets as high as they are."""
    measured = [] if result is None else rows(result)
    table.setRowCount(len(measured))
    for place, row in enumerate(measured):
        for column, words in enumerate((row.name, *row.texts())):
            item = qt.QTableWidgetItem(words)
            side = qt.Qt.AlignLeft if column == 0 else qt.Qt.AlignRight
            item.setTextAlignment(side | qt.Qt.AlignVCenter)
            item.setToolTip(row.name)
            table.setItem(place, column, item)
    fit(table)


def fit(table: Any) -> None:
    """Make a table as high as its rows, which may be of several lines: the panel scrolls as a whole."""
    table.resizeRowsToContents()
    height = table.horizontalHeader().height + 2 * table.frameWidth
    height += sum(table.rowHeight(place) for place in range(table.rowCount))
    table.setFixedHeight(max(height, 1))
