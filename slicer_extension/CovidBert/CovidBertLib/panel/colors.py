"""Colours of the panel that can be read on light and dark."""

from __future__ import annotations

GOOD = "#2e9e5b"
ATTENTION = "#d08a00"
ERROR = "#d64545"


def tint(name: str, color: str) -> str:
    """Return the style of a frame: a bar of the colour at its left, and a breath of it behind the text.

    The text keeps the application's own colour, so that it can be read on light and on dark.

    Parameters
    ----------
    name
        Object name of the frame; what lies in it keeps its style.
    color
        ``#rrggbb``.
    """
    red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return (
        f"#{name} {{ background-color: rgba({red}, {green}, {blue}, 40); border: none; "
        f"border-left: 4px solid {color}; border-radius: 2px; }}"
    )
