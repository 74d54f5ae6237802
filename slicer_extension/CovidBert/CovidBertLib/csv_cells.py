"""Cells of CSV files that a table calculator takes for text, and not for a formula."""

from __future__ import annotations

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def plain(cell: object) -> object:
    """Return what is written for a value: text that would be a formula with an apostrophe before it, "" for None."""
    if isinstance(cell, str) and cell.startswith(_FORMULA):
        return f"'{cell}"
    return "" if cell is None else cell
