"""Widgets of Slicer that show nodes of the scene: their documented properties, slots and signals."""

from __future__ import annotations

from typing import Any

import vtk
from PySide6 import QtWidgets

from standin.forms import cpp_class
from standin.pythonqt import StandInProperty
from standin.signals import StandInSignal, find_signal


def _flag(name: str, default: bool) -> StandInProperty:
    return StandInProperty(
        bool,
        lambda self: self.__dict__.get(f"_{name}", default),
        lambda self, value: self._change(f"_{name}", bool(value)),
    )


@cpp_class
class qMRMLWidget(QtWidgets.QWidget):
    """A widget that knows a scene and tells its children."""

    mrmlSceneChanged = StandInSignal("mrmlSceneChanged(vtkMRMLScene*)")

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        self._scene: Any = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


@cpp_class
class qMRMLNodeComboBox(QtWidgets.QWidget):
    """A list of the scene's nodes of some classes, one of them current."""

    currentNodeChanged = StandInSignal("currentNodeChanged(vtkMRMLNode*)", "currentNodeChanged(bool)")
    currentNodeIDChanged = StandInSignal("currentNodeIDChanged(QString)")
    nodeActivated = StandInSignal("nodeActivated(vtkMRMLNode*)")
    nodeAdded = StandInSignal("nodeAdded(vtkMRMLNode*)")
    nodeAboutToBeRemoved = StandInSignal("nodeAboutToBeRemoved(vtkMRMLNode*)")

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        self._scene: Any = None
        self._current: Any = None
        self._observed: list[tuple[Any, int]] = []
        self._attributes: dict[tuple[str, str], Any] = {}
        self._types: list[str] = []
        self._names = ["", "None"]
        self._combo = QtWidgets.QComboBox(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        self._combo.activated.connect(self._activated)
        self._combo.enabled = False
        self.destroyed.connect(self._forget_scene)

    def _change(self, name: str, value: Any) -> None:
        setattr(self, name, value)
        self._refresh()

    noneEnabled = _flag("noneEnabled", False)
    addEnabled = _flag("addEnabled", True)
    removeEnabled = _flag("removeEnabled", True)
    editEnabled = _flag("editEnabled", False)
    renameEnabled = _flag("renameEnabled", False)
    selectNodeUponCreation = _flag("selectNodeUponCreation", True)
    showHidden = _flag("showHidden", False)
    showChildNodeTypes = _flag("showChildNodeTypes", True)
    nodeTypes = StandInProperty(
        "QStringList", lambda self: self._types, lambda self, value: self._change("_types", list(value))
    )
    hideChildNodeTypes = StandInProperty(
        "QStringList",
        lambda self: self.__dict__.get("_hidden_types", []),
        lambda self, value: self._change("_hidden_types", list(value)),
    )
    noneDisplay = StandInProperty(
        str, lambda self: self._names[1], lambda self, value: self._change("_names", [self._names[0], value])
    )
    baseName = StandInProperty(
        str, lambda self: self._names[0], lambda self, value: self._change("_names", [value, self._names[1]])
    )

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        """Show the nodes of this scene, now and as they come and go."""
        self._forget_scene()
        self._scene = scene
        self._combo.enabled = scene is not None
        if scene is not None:
            for event in (scene.NodeRemovedEvent, scene.EndCloseEvent, scene.EndImportEvent):
                self._observe(event, lambda *_: self._refresh())
            self._observe(scene.NodeAddedEvent, self._node_added)
            self._observe(scene.NodeAboutToBeRemovedEvent, self._node_about_to_be_removed)
        self._refresh()

    def _forget_scene(self) -> None:
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._observed = []

    def _observe(self, event: int, function: Any) -> None:
        self._observed.append((self._scene, self._scene.AddObserver(event, function)))

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _node_added(self, _scene: Any, _event: str, node: Any) -> None:
        self._refresh()
        if self._fits(node):
            self.nodeAdded.emit(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _node_about_to_be_removed(self, _scene: Any, _event: str, node: Any) -> None:
        if self._fits(node):
            self.nodeAboutToBeRemoved.emit(node)

    def _fits(self, node: Any) -> bool:
        names = [name for name in self._types if node.IsA(name)]
        if not names or (not self.showChildNodeTypes and node.GetClassName() not in self._types):
            return False
        if any(node.IsA(name) for name in self.hideChildNodeTypes) or (
            node.GetHideFromEditors() and not self.showHidden
        ):
            return False
        for (node_type, key), value in self._attributes.items():
            has = node.GetAttribute(key)
            if node.IsA(node_type) and (has is None or (value is not None and has != str(value))):
                return False
        return True

    def _nodes(self) -> list[Any]:
        if self._scene is None:
            return []
        nodes = [self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes())]
        return [node for node in nodes if self._fits(node)]

    def _refresh(self) -> None:
        nodes = self._nodes()
        self._combo.clear()
        for node in ([None] if self.noneEnabled else []) + nodes:
            self._combo.addItem(self._names[1] if node is None else node.GetName())
        current = self._current if any(node is self._current for node in nodes) else None
        if current is None and nodes and not self.noneEnabled:
            current = nodes[0]
        self._select(current)

    def _select(self, node: Any) -> None:
        changed = node is not self._current
        self._current = node
        nodes = ([None] if self.noneEnabled else []) + self._nodes()
        self._combo.currentIndex = next((index for index, each in enumerate(nodes) if each is node), -1)
        if changed:
            identifier = "" if node is None else node.GetID()
            self.currentNodeChanged.emit(node)
            pairs = (("currentNodeChanged(bool)", node is not None), ("currentNodeIDChanged(QString)", identifier))
            for signature, value in pairs:
                find_signal(self, signature).emit(value)

    def _activated(self, index: int) -> None:
        nodes = ([None] if self.noneEnabled else []) + self._nodes()
        self._select(nodes[index])
        self.nodeActivated.emit(nodes[index])

    def currentNode(self) -> Any:
        return self._current

    def setCurrentNode(self, node: Any) -> None:
        """Make a node (or the node of an id) current; None, or a node that is not listed, clears the choice."""
        listed = [each for each in self._nodes() if each is node or (isinstance(node, str) and each.GetID() == node)]
        self._select(listed[0] if listed else None)

    def setCurrentNodeID(self, identifier: str) -> None:
        self.setCurrentNode(str(identifier))

    currentNodeID = StandInProperty(
        str, lambda self: "" if self._current is None else self._current.GetID(), setCurrentNodeID
    )

    def setCurrentNodeIndex(self, index: int) -> None:
        self._select(self._nodes()[index])

    def nodeCount(self) -> int:
        return len(self._nodes())

    def nodeFromIndex(self, index: int) -> Any:
        nodes = self._nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    def addAttribute(self, node_type: str, key: str, value: Any = None) -> None:
        """List only nodes of ``node_type`` that have this attribute."""
        self._attributes[node_type, key] = value
        self._refresh()

    def removeAttribute(self, node_type: str, key: str) -> None:
        self._attributes.pop((node_type, key), None)
        self._refresh()

    def addNode(self, node_type: str = "") -> Any:
        """Make a node of the first (or the named) class and select it."""
        chosen = node_type or self._types[0]
        node = self._scene.AddNewNodeByClass(chosen, self._scene.GenerateUniqueName(self._names[0] or chosen[7:-4]))
        if self.selectNodeUponCreation:
            self._select(node)
        return node
