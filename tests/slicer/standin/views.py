"""``slicer.app.layoutManager()``: slice and 3-D views that are drawn by 3D Slicer's own displayable managers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
import vtk
from PySide6 import QtWidgets

from standin.forms import cpp_class
from standin.pythonqt import StandInProperty
from standin.signals import StandInSignal

SLICES = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}
SLICE_MANAGERS = [
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
]
VIEW_MANAGERS = [
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLColorLegendDisplayableManager",
]


class Drawing:
    """An offscreen window in which displayable managers draw one view node."""

    def __init__(
        self, application: Any, factory: Any, names: list[str], node: Any, size: tuple[int, int], image: Any = None
    ):
        self.window, self.renderer = vtk.vtkRenderWindow(), vtk.vtkRenderer()
        self.window.SetOffScreenRendering(1)
        self.window.ShowWindowOff()
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        if image is not None:
            # First, or the managers' half-transparent fills would be blended with the empty background.
            self.renderer.AddViewProp(image)
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.interactor.Initialize()
        factory.SetMRMLApplicationLogic(application)
        for name in names:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self.group = slicer.vtkMRMLDisplayableManagerGroup()
        self.group.SetRenderer(self.renderer)
        self.group.Initialize(factory, self.renderer)
        self.group.SetMRMLDisplayableNode(node)

    def close(self) -> None:
        """Release the window before the scene goes."""
        self.group.SetMRMLDisplayableNode(None)
        self.window.Finalize()


class _VtkView(QtWidgets.QWidget):
    """ctkVTKAbstractView: a widget with a render window, made when first asked for."""

    def __init__(self, node: Any, draw: Callable[[], Drawing]):
        super().__init__()
        self._node, self._draw = node, draw
        self._drawing: Drawing | None = None

    def _made(self) -> Drawing:
        if self._drawing is None:
            self._drawing = self._draw()
        return self._drawing

    def renderWindow(self) -> Any:
        return self._made().window

    def scheduleRender(self) -> None:
        """Nothing to do: who looks at the window draws it first."""

    def forceRender(self) -> None:
        self._made().window.Render()

    def _close(self) -> None:
        if self._drawing is not None:
            self._drawing.close()


@cpp_class
class qMRMLSliceView(_VtkView):
    def mrmlSliceNode(self) -> Any:
        return self._node


@cpp_class
class qMRMLThreeDView(_VtkView):
    def mrmlViewNode(self) -> Any:
        return self._node

    def resetFocalPoint(self) -> None:
        self._made().renderer.ResetCamera()

    def resetCamera(self) -> None:
        self._made().renderer.ResetCamera()


@cpp_class
class qMRMLSliceWidget(QtWidgets.QWidget):
    """One slice view with Slicer's own slice logic."""

    def __init__(self, application: Any, scene: Any, name: str, orientation: str, size: tuple[int, int] = (512, 512)):
        super().__init__()
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(application)
        self._logic.SetMRMLScene(scene)
        node = self._logic.AddSliceNode(name)
        node.SetOrientation(orientation)
        node.SetDimensions(*size, 1)
        application.GetSliceLogics().AddItem(self._logic)
        self._view = qMRMLSliceView(node, lambda: self._draw(application, node, size))

    def _draw(self, application: Any, node: Any, size: tuple[int, int]) -> Drawing:
        mapper, actor = vtk.vtkImageMapper(), vtk.vtkActor2D()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        actor.SetMapper(mapper)

        def follow(logic: Any, _event: str = "") -> None:
            connection = logic.GetImageDataConnection()
            mapper.SetInputConnection(connection)
            actor.SetVisibility(connection is not None)

        follow(self._logic)
        # As in Slicer: the logic makes another pipeline when the layers change.
        self._logic.AddObserver(vtk.vtkCommand.ModifiedEvent, follow)
        actor.GetProperty().SetDisplayLocationToBackground()
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        return Drawing(application, factory, SLICE_MANAGERS, node, size, actor)

    def sliceLogic(self) -> Any:
        return self._logic

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        return self._logic.GetSliceCompositeNode()

    def sliceView(self) -> qMRMLSliceView:
        return self._view

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground()


@cpp_class
class qMRMLThreeDWidget(QtWidgets.QWidget):
    """The 3-D view."""

    def __init__(self, application: Any, scene: Any, size: tuple[int, int] = (640, 512)):
        super().__init__()
        self._node = scene.AddNewNodeByClass("vtkMRMLViewNode", "View1")
        self._node.SetLayoutName("1")
        camera = scene.AddNewNodeByClass("vtkMRMLCameraNode", "Camera")
        camera.SetLayoutName(self._node.GetLayoutName())
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        self._view = qMRMLThreeDView(self._node, lambda: Drawing(application, factory, VIEW_MANAGERS, self._node, size))

    def threeDView(self) -> qMRMLThreeDView:
        return self._view

    def mrmlViewNode(self) -> Any:
        return self._node


@cpp_class
class qSlicerLayoutManager(QtWidgets.QWidget):
    """The views of the application; the arrangement on the screen is only a number here."""

    layoutChanged = StandInSignal("layoutChanged(int)")

    def __init__(self, application: Any, scene: Any):
        super().__init__()
        self._application, self._number = application, 3
        self._slices = {name: qMRMLSliceWidget(application, scene, name, where) for name, where in SLICES.items()}
        self._three_d = [qMRMLThreeDWidget(application, scene)]

    def sliceViewNames(self) -> tuple[str, ...]:
        return tuple(self._slices)

    def sliceWidget(self, name: str) -> qMRMLSliceWidget | None:
        return self._slices.get(name)

    def mrmlSliceLogics(self) -> Any:
        return self._application.GetSliceLogics()

    def threeDWidget(self, index: int) -> qMRMLThreeDWidget | None:
        return self._three_d[index] if 0 <= index < len(self._three_d) else None

    threeDViewCount = StandInProperty(int, lambda self: len(self._three_d))

    def resetSliceViews(self) -> None:
        for widget in self._slices.values():
            widget.sliceLogic().FitSliceToAll()

    def resetThreeDViews(self) -> None:
        for widget in self._three_d:
            widget.threeDView().resetFocalPoint()

    def setLayout(self, number: int) -> None:
        self._number = number
        self.layoutChanged.emit(number)

    layout = StandInProperty(int, lambda self: self._number, setLayout)

    def _close(self) -> None:
        for view in [widget.sliceView() for widget in self._slices.values()] + [
            each.threeDView() for each in self._three_d
        ]:
            view._close()


def write_png(window: Any, path: Path) -> Path:
    """Draw the window and write it as PNG."""
    window.Render()
    grabber, writer = vtk.vtkWindowToImageFilter(), vtk.vtkPNGWriter()
    grabber.SetInput(window)
    grabber.ReadFrontBufferOff()
    writer.SetInputConnection(grabber.GetOutputPort())
    writer.SetFileName(str(path))
    writer.Write()
    return path
