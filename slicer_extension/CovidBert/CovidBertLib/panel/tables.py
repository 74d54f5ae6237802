"""Cells of the panel's tables."""

from __future__ import annotations

from typing import Any

import qt

_ROW_HEIGHT, _LINE_HEIGHT, _FRAME = 24, 14, 4


def text_cell(text: str, tip: str = "") -> Any:
    """Return a cell with text, which it also shows as a tip, since columns are narrow."""
    item = qt.QTableWidgetItem(text)
    item.setToolTip(tip or text)
    return item


def number_cell(value: float | None, digits: int = 2) -> Any:
    """Return a cell with a number, which is sorted as one; an empty cell for None."""
    item = qt.QTableWidgetItem()
    if value is not None:
        item.setData(qt.Qt.DisplayRole, round(float(value), digits))
        item.setToolTip(f"{value:.{digits}f}")
    item.setTextAlignment(int(qt.Qt.AlignRight | qt.Qt.AlignVCenter))
    return item


def set_columns(table: Any, names: list[str], first_width: int | None = None, lines: int = 1) -> None:
    """Name the columns, which are as wide as what they hold.

    Parameters
    ----------
    table
        A QTableWidget.
    names
        What the columns are called.
    first_width
        Width of the first column in pixels, which the user can change; None for all that is left.
    lines
        Lines of text in a row.
    """
    table.setColumnCount(len(names))
    table.setHorizontalHeaderLabels(names)
    header = table.horizontalHeader()
    header.setHighlightSections(False)
    header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    if first_width is None:
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
    else:
        header.setSectionResizeMode(0, qt.QHeaderView.Interactive)
        table.setColumnWidth(0, first_width)
    table.verticalHeader().setDefaultSectionSize(_ROW_HEIGHT + (lines - 1) * _LINE_HEIGHT)


def fit_height(table: Any, rows: int) -> None:
    """Make a table as high as so many rows."""
    table.setFixedHeight(table.horizontalHeader().height + rows * _ROW_HEIGHT + _FRAME)


def set_row(table: Any, row: int, cells: list[Any]) -> None:
    """Put cells into a row of a table that is not being sorted meanwhile."""
    for column, cell in enumerate(cells):
        table.setItem(row, column, cell)


def row_key(table: Any, row: int) -> str | None:
    """Return what `mark_row` noted for a row; None if there is no such row."""
    item = table.item(row, 0) if row >= 0 else None
    return None if item is None else str(item.data(qt.Qt.UserRole))


def selected_key(table: Any) -> str | None:
    """Return what `mark_row` noted for the selected row; None if none is selected."""
    # The rows of the selection model come as QModelIndexList, a type that PythonQt has under another name.
    cells = table.selectedItems()
    return row_key(table, cells[0].row()) if cells else None


def mark_row(cell: Any, key: str) -> Any:
    """Note which entry a row is of, wherever it is sorted to."""
    cell.setData(qt.Qt.UserRole, key)
    return cell
