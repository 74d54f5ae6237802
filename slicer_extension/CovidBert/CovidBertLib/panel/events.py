"""Clicks, sizes and colours of a widget whose picture is painted here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt


class WidgetEvents(qt.QWidget):
    """Calls functions at events of one widget, until `close`.

    Parameters
    ----------
    widget
        What is watched.
    changed
        Called after its size or colours have changed.
    clicked
        Called with the place from its left, in pixels, when it is pressed or the pointer is drawn over it.
    """

    def __init__(
        self, widget: Any, changed: Callable[[], None], clicked: Callable[[float], None] | None = None
    ) -> None:
        qt.QWidget.__init__(self)
        self._widget, self._changed, self._clicked = widget, changed, clicked
        widget.installEventFilter(self)

    def eventFilter(self, _widget: Any, event: Any) -> bool:  # noqa: N802 - Qt's name
        """Qt calls this for every event of the widget."""
        kind = event.type()
        pressed = kind == qt.QEvent.MouseButtonPress or (
            kind == qt.QEvent.MouseMove and event.buttons() == qt.Qt.LeftButton
        )
        if pressed and self._clicked is not None:
            self._clicked(event.pos().x())
            return True
        if kind in (qt.QEvent.Resize, qt.QEvent.PaletteChange):
            self._changed()
        return False

    def let_go(self) -> None:
        """Watch no longer."""
        self._widget.removeEventFilter(self)
        self.deleteLater()
