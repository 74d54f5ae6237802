"""Pictures in the labels of the panel, in its colours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from ..painting import LESIONS, LOCATION, SCORE, Look, line, pen, text

__all__ = ["LESIONS", "LOCATION", "SCORE", "Look", "line", "look_of", "paint_into", "pen", "picture", "text"]


def look_of(widget: Any) -> Look:
    """Return the look that fits the colours of a widget."""
    palette = widget.palette
    ink, paper = palette.color(qt.QPalette.WindowText), palette.color(qt.QPalette.Window)
    mixed = [_mix(ink, paper, share) for share in (0.35, 0.8)]
    return Look(ink.name(), *mixed)


def _mix(first: Any, second: Any, share: float) -> str:
    pairs = zip((first.red(), first.green(), first.blue()), (second.red(), second.green(), second.blue()))
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def paint_into(label: Any, height: float, paint: Callable[[Any, float, Look], None]) -> None:
    """Paint the picture of a label as wide as it is, sharp on every screen.

    Parameters
    ----------
    label
        A ``QLabel`` whose width its layout decides.
    height
        In pixels of the label; it gets as high.
    paint
        Called with the painter, the width and the look.
    """
    width = label.width
    if width < 2:
        return
    if label.minimumHeight != int(height):
        label.minimumHeight = int(height)
    look = look_of(label)
    label.setPixmap(picture(width, height, label.devicePixelRatioF(), lambda painter: paint(painter, width, look)))


def picture(width: int, height: float, ratio: float, paint: Callable[[Any], None]) -> Any:
    """Return a pixmap of a size in the widget's pixels.

    Parameters
    ----------
    width, height
        In pixels of the widget.
    ratio
        Pixels of the screen for one of them.
    paint
        Called with the painter.
    """
    pixmap = qt.QPixmap(max(1, round(width * ratio)), max(1, round(height * ratio)))
    pixmap.setDevicePixelRatio(ratio)
    pixmap.fill(qt.QColor(0, 0, 0, 0))
    painter = qt.QPainter()
    painter.begin(pixmap)
    try:
        painter.setRenderHint(qt.QPainter.Antialiasing, True)
        paint(painter)
    finally:
        painter.end()
    return pixmap
