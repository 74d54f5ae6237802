"""``slicer.app``, the module manager and the settings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

from standin.forms import cpp_class
from standin.pythonqt import StandInProperty
from standin.signals import StandInSignal
from standin.views import qSlicerLayoutManager
from standin.world import World

VERSION = (5, 12)  # of Slicer, whose libraries the package slicer-core 5.12 holds


@cpp_class
class qSlicerModuleManager(QtCore.QObject):
    """Names and entries of the modules."""

    moduleAboutToBeUnloaded = StandInSignal("moduleAboutToBeUnloaded(QString)")
    moduleLoaded = StandInSignal("moduleLoaded(QString)")

    def module(self, name: str) -> Any:
        return getattr(slicer.modules, name.lower(), None)

    def modulesNames(self) -> list[str]:
        entries = [value for key, value in vars(type(slicer.modules)).items() if not key.startswith("_")]
        return [entry.name for entry in entries]


@cpp_class
class qSlicerIOManager(QtCore.QObject):
    """The part of the file manager that ``slicer.util.saveScene`` and ``loadScene`` use."""

    def saveNodes(self, file_type: str, properties: dict[str, Any], messages: Any = None) -> bool:
        """Save the scene as ``.mrb`` or ``.mrml``."""
        name = str(properties["fileName"])
        if file_type != "SceneFile":
            raise NotImplementedError(f"the stand-in does not write {file_type}")
        if name.endswith(".mrb"):
            return bool(slicer.mrmlScene.WriteToMRB(name))
        return bool(slicer.mrmlScene.Commit(name))

    def loadNodes(self, file_type: str, properties: dict[str, Any], nodes: Any = None, messages: Any = None) -> bool:
        """Read a scene in the place of the present one (``clear``, the default here) or beside it, or a volume."""
        name = str(properties["fileName"])
        if file_type == "VolumeFile":
            label = 1 if properties.get("labelmap") else 0
            node = slicer.modules.volumes.logic().AddArchetypeVolume(
                name, properties.get("name", Path(name).stem), label
            )
            if node is not None and nodes is not None:
                nodes.AddItem(node)
            return node is not None
        if file_type != "SceneFile":
            raise NotImplementedError(f"the stand-in does not read {file_type}")
        if properties.get("clear"):
            slicer.mrmlScene.Clear(0)
        if name.endswith(".mrb"):
            return bool(slicer.mrmlScene.ReadFromMRB(name, False))
        slicer.mrmlScene.SetURL(name)
        return bool(slicer.mrmlScene.Import())


@cpp_class
class qSlicerApplication(QtWidgets.QApplication):
    """``slicer.app``: one for the process; ``open_world`` gives it a new scene, views, folder and settings."""

    startupCompleted = StandInSignal("startupCompleted()")

    def __init__(self) -> None:
        super().__init__(["Slicer"])
        self.setOrganizationName("slicer.org")
        self.setApplicationName("Slicer")
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
        self._manager, self._files = qSlicerModuleManager(), qSlicerIOManager()
        self._world: World | None = None
        self._layout: qSlicerLayoutManager | None = None
        self._window: QtWidgets.QMainWindow | None = None
        self._folder = Path()

    def open_world(self, folder: Path) -> None:
        """Begin anew: what a start of Slicer for another user gives."""
        self.close_world()
        self._folder = folder
        QtCore.QSettings.setPath(
            QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, str(folder / "settings")
        )
        (folder / "temporary").mkdir(parents=True, exist_ok=True)
        interpreter = folder / "home" / "bin" / "PythonSlicer"
        interpreter.parent.mkdir(parents=True, exist_ok=True)
        interpreter.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        interpreter.chmod(0o755)
        self._world = World(folder / "temporary", folder / "home")
        slicer.mrmlScene = self._world.scene
        slicer.modules = self._world.modules()
        self._layout = qSlicerLayoutManager(self._world.application, self._world.scene)
        self._window = QtWidgets.QMainWindow()
        self._window.objectName = "qSlicerMainWindow"

    def close_world(self) -> None:
        """Release views, then scene."""
        if self._layout is not None:
            self._layout._close()
        if self._world is not None:
            self._world.close()
        if self._window is not None:
            self._window.deleteLater()
        self._layout = self._world = self._window = None

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def applicationLogic(self) -> Any:
        assert self._world is not None
        return self._world.application

    def layoutManager(self) -> Any:
        return self._layout

    def moduleManager(self) -> qSlicerModuleManager:
        return self._manager

    def coreIOManager(self) -> qSlicerIOManager:
        return self._files

    def ioManager(self) -> qSlicerIOManager:
        return self._files

    def userSettings(self) -> QtCore.QSettings:
        return QtCore.QSettings()

    def settings(self) -> QtCore.QSettings:
        return QtCore.QSettings()

    def testingEnabled(self) -> bool:
        return True

    def translate(self, context: str, text: str) -> str:  # type: ignore[override]
        return QtCore.QCoreApplication.translate(context, text)

    def pauseRender(self) -> None:
        """Views are drawn on demand: nothing to hold back."""

    def resumeRender(self) -> None:
        """Views are drawn on demand: nothing to let go."""

    def setRenderPaused(self, paused: bool) -> None:
        """Views are drawn on demand: nothing to hold back."""

    def _get_temporary_path(self) -> str:
        return str(self._folder / "temporary")

    def _get_home(self) -> str:
        return str(self._folder / "home")

    def _get_settings_file(self) -> str:
        return QtCore.QSettings().fileName()

    def _get_system(self) -> str:
        return {"win32": "win", "darwin": "macosx"}.get(sys.platform, "linux")

    def _get_major_version(self) -> int:
        return VERSION[0]

    def _get_minor_version(self) -> int:
        return VERSION[1]

    temporaryPath = StandInProperty(str, _get_temporary_path)
    slicerHome = StandInProperty(str, _get_home)
    slicerUserSettingsFilePath = StandInProperty(str, _get_settings_file)
    os = StandInProperty(str, _get_system)
    majorVersion = StandInProperty(int, _get_major_version)
    minorVersion = StandInProperty(int, _get_minor_version)
