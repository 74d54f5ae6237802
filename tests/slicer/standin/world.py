"""A MRML scene with 3D Slicer's own logics, and ``slicer.modules``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
import vtk

LOGICS = {
    "Annotations": "vtkSlicerAnnotationModuleLogic",
    "Cameras": "vtkSlicerCamerasModuleLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Units": "vtkSlicerUnitsLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
    "Volumes": "vtkSlicerVolumesLogic",
}


class Module:
    """One entry of ``slicer.modules``."""

    def __init__(self, name: str, logic: Any, path: str = "", widget: Any = None):
        self.name, self.title, self.path = name, name, path
        self._logic, self._widget = logic, widget

    def logic(self) -> Any:
        return self._logic

    def show_as(self, widget: Any) -> None:
        """Set the panel of a scripted module."""
        self._widget = widget

    def widgetRepresentation(self) -> Any:
        return self._widget


class World:
    """A scene with every logic that Slicer has without Qt, in the order in which they need each other."""

    def __init__(self, folder: Path, home: Path):
        self.scene = slicer.vtkMRMLScene()
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self.scene.AddNode(crosshair)
        for node_class in ("vtkMRMLSelectionNode", "vtkMRMLInteractionNode"):
            node = self.scene.CreateNodeByClass(node_class)
            node.UnRegister(None)
            node.SetSingletonTag("Singleton")
            self.scene.AddNode(node)
        self.application = slicer.vtkSlicerApplicationLogic()
        self.application.SetMRMLScene(self.scene)
        self.application.SetTemporaryPath(str(folder))
        # The Python package lacks Slicer's colour files: the logic finds an empty folder and makes its own tables.
        (home / "share" / "ColorFiles").mkdir(parents=True, exist_ok=True)
        self.application.SetHomeDirectory(str(home))
        self.application.SetShareDirectory("share")
        self.logics: dict[str, Any] = {}
        colors = slicer.vtkSlicerColorLogic()
        colors.SetMRMLApplicationLogic(self.application)
        colors.SetMRMLScene(self.scene)
        self._add("Colors", colors)
        self.application.SetSliceLogics(vtk.vtkCollection())
        self.application.SetViewLogics(vtk.vtkCollection())
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)
        for name, class_name in LOGICS.items():
            logic = getattr(slicer, class_name)()
            logic.SetMRMLScene(self.scene)
            logic.SetMRMLApplicationLogic(self.application)
            self._add(name, logic)
        self.scene.SetRootDirectory(str(folder))
        # A scene is unpacked from its bundle into the cache folder.
        self.remote = slicer.vtkMRMLRemoteIOLogic()
        self.remote.SetMRMLScene(self.scene)
        self.remote.GetCacheManager().SetRemoteCacheDirectory(str(folder / "cache"))
        self.remote.AddDataIOToScene()

    def _add(self, name: str, logic: Any) -> None:
        self.application.SetModuleLogic(name, logic)
        self.logics[name] = logic

    def modules(self) -> Any:
        """Return what ``slicer.modules`` is: one attribute for each module, in lower case."""
        entries = {name.lower(): Module(name, logic) for name, logic in self.logics.items()}
        return type("SlicerModules", (), entries)()

    def close(self) -> None:
        """Empty the scene and let the logics go."""
        self.scene.Clear(1)
        self.remote.RemoveDataIOFromScene()
        self.logics.clear()
