"""The modules ``qt`` and ``ctk``, and the loader of forms that knows the widgets of ctk and Slicer."""

from __future__ import annotations

import types
from typing import Any
from xml.etree import ElementTree

from PySide6 import QtCore, QtUiTools, QtWidgets

from standin import pythonqt, signals

# Classes of ctk and Slicer by name, filled by ``cpp_class``.
WIDGETS: dict[str, type] = {}
_alive: dict[int, QtWidgets.QWidget] = {}
# What PySide6 adds to Qt and PythonQt does not have.
PYSIDE_ONLY = {"Qt3DCore", "QtCore", "QtGui", "QtWidgets", "QEnum", "QFlag"}


def cpp_class(cls: type) -> type:
    """Mark a class of the stand-in as one of C++: forms may name it, and Python may not add attributes to it."""
    cls._stands_for_cpp = True  # type: ignore[attr-defined]
    WIDGETS[cls.__name__] = cls
    return cls


def keep_alive(widget: QtWidgets.QWidget) -> None:
    """Hold the Python side of a widget for as long as its C++ side lives."""
    key = signals.pointer(widget)
    _alive[key] = widget
    widget.destroyed.connect(lambda: _alive.pop(key, None))


class QUiLoader(QtUiTools.QUiLoader):
    """Loads ``.ui`` files; an unknown class is an error, as it is a lost widget in Slicer."""

    def __init__(self, parent: QtCore.QObject | None = None):
        super().__init__(parent)
        self.unknown: list[str] = []

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        """Make one widget of the form."""
        if class_name in WIDGETS:
            widget = WIDGETS[class_name](parent)
            widget.objectName = name
            keep_alive(widget)
            return widget
        widget = super().createWidget(class_name, parent, name)
        if widget is None:
            self.unknown.append(class_name)
        return widget

    def load(self, device: QtCore.QIODevice, parent: QtWidgets.QWidget | None = None) -> QtWidgets.QWidget | None:
        """Load a form; its ``<connections>`` between signals and slots of ctk and Slicer are made here."""
        tree = ElementTree.fromstring(bytes(device.readAll().data()))
        wires = tree.find("connections")
        connections = (
            []
            if wires is None
            else [[str(wire.findtext(key)) for key in ("sender", "signal", "receiver", "slot")] for wire in wires]
        )
        if wires is not None:
            tree.remove(wires)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(tree))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        widget = super().load(buffer, parent)
        if self.unknown:
            raise RuntimeError(f"The form names widgets that the stand-in does not offer: {sorted(set(self.unknown))}")
        if widget is not None:
            for connection in connections:
                self._connect(widget, *connection)
        return widget

    def _connect(self, form: QtWidgets.QWidget, sender: str, signal: str, receiver: str, slot: str) -> None:
        ends = [
            form if form.objectName == name else form.findChild(QtCore.QObject, name) for name in (sender, receiver)
        ]
        if None in ends:
            raise RuntimeError(f"The form connects {sender} and {receiver}, and one of them does not exist")
        signals.find_signal(ends[0], signal).connect(getattr(ends[1], slot.split("(", 1)[0]))


class QtModule(types.ModuleType):
    """``import qt``: all of Qt in one namespace, without what only PySide6 has."""

    def __getattr__(self, name: str) -> Any:
        if name == "QUiLoader":
            return QUiLoader
        if (name == "Qt" or name.startswith("Q")) and name not in PYSIDE_ONLY:
            for module in pythonqt.MODULES:
                found = getattr(module, name, None)
                if isinstance(found, type):
                    return found
        raise AttributeError(f"module 'qt' has no attribute '{name}'")


class CtkModule(types.ModuleType):
    """``import ctk``: the widgets of CTK that the stand-in offers."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("ctk") and name in WIDGETS:
            return WIDGETS[name]
        raise AttributeError(f"module 'ctk' has no attribute '{name}'")
