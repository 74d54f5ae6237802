"""Loads a scripted module from its file and builds its panel, in the order in which Slicer does."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from standin.forms import cpp_class
from standin.mrml_widgets import qMRMLWidget
from standin.pythonqt import StandInProperty
from standin.world import Module


def _kept(kind: Any, name: str, default: Any) -> StandInProperty:
    return StandInProperty(
        kind,
        lambda self: self.__dict__.get(f"_{name}", default),
        lambda self, value: self.__dict__.__setitem__(f"_{name}", value),
    )


@cpp_class
class qSlicerScriptedLoadableModule(QtCore.QObject):
    """What Slicer hands to the constructor of a module as ``parent``."""

    title = _kept(str, "title", "")
    helpText = _kept(str, "helpText", "")
    acknowledgementText = _kept(str, "acknowledgementText", "")
    categories = _kept("QStringList", "categories", [])
    dependencies = _kept("QStringList", "dependencies", [])
    contributors = _kept("QStringList", "contributors", [])
    icon = _kept(QtGui.QIcon, "icon", None)
    hidden = _kept(bool, "hidden", False)
    index = _kept(int, "index", -1)
    path = _kept(str, "path", "")
    name = _kept(str, "name", "")


@cpp_class
class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """What Slicer hands to the constructor of a module's widget as ``parent``."""

    def __init__(self, name: str):
        super().__init__()
        self._name = name
        self._python: Any = None
        QtWidgets.QVBoxLayout(self)
        self.setMRMLScene(slicer.mrmlScene)

    def self(self) -> Any:
        """Return the Python object of the panel."""
        return self._python

    def reload(self) -> None:
        """Make the Python object anew and let it build its panel."""
        self._python = getattr(sys.modules[self._name], self._name + "Widget")(self)
        setattr(slicer.modules, self._name + "Widget", self._python)
        self._python.setup()

    def enter(self) -> None:
        """The panel is shown."""
        self._python.enter()

    def exit(self) -> None:
        """Another module's panel is shown."""
        self._python.exit()


def load_module(file: Path) -> Any:
    """Load a module from its file and register it; return its Python object.

    The folder of the file joins ``sys.path``, as in Slicer.
    """
    name = file.stem
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    parent = qSlicerScriptedLoadableModule()
    parent.path, parent.name = str(file), name
    module = getattr(loaded, name)(parent)
    entry = Module(name, None, str(file))
    entry.title = parent.title
    setattr(slicer.modules, name.lower(), entry)
    setattr(slicer.modules, name + "Instance", module)
    return module


def build_widget(name: str) -> Any:
    """Build and show the panel of a loaded module; return its Python object."""
    host = qSlicerScriptedLoadableModuleWidget(name)
    getattr(slicer.modules, name.lower()).show_as(host)
    host.reload()
    host.resize(480, 900)
    host.show()
    host.enter()
    return host.self()


def unload_module(name: str) -> None:
    """Let the module go: its panel is closed and its Python modules are forgotten."""
    slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(name)
    entry = getattr(slicer.modules, name.lower(), None)
    host = None if entry is None else entry.widgetRepresentation()
    if host is not None:
        host.close()
        host.deleteLater()
    library = name + "Lib"
    for key in [key for key in sys.modules if key in (name, library) or key.startswith(library + ".")]:
        del sys.modules[key]
