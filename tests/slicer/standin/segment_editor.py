"""qMRMLSegmentEditorWidget and qMRMLSegmentsTableView: what they know and tell, without the editing effects."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from standin.forms import cpp_class
from standin.mrml_widgets import qMRMLWidget
from standin.pythonqt import StandInProperty
from standin.signals import StandInSignal


def _segments(node: Any) -> list[tuple[str, Any]]:
    if node is None or node.GetSegmentation() is None:
        return []
    segmentation = node.GetSegmentation()
    identifiers = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
    return [(identifier, segmentation.GetSegment(identifier)) for identifier in identifiers]


@cpp_class
class qMRMLSegmentsTableView(qMRMLWidget):
    """The segments of one segmentation: colour and name."""

    selectionChanged = StandInSignal("selectionChanged(QItemSelection,QItemSelection)")

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        self._node: Any = None
        self._observed: list[tuple[Any, int]] = []
        self._table = QtWidgets.QTableWidget(0, 2, self)
        self._table.setHorizontalHeaderLabels(["", "Name"])
        self._table.horizontalHeader().setStretchLastSection(True)
        self._table.setColumnWidth(0, 30)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._table)
        self._table.itemSelectionChanged.connect(lambda: self.selectionChanged.emit(None, None))
        self.destroyed.connect(self._forget)

    def segmentationNode(self) -> Any:
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        """Show the segments of this node, now and as they change."""
        self._forget()
        self._node = node
        if node is not None:
            self._observed = [(node, node.AddObserver("ModifiedEvent", lambda *_: self._refresh()))]
        self._refresh()

    def _forget(self) -> None:
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._observed = []

    def _refresh(self) -> None:
        segments = _segments(self._node)
        self._table.rowCount = len(segments)
        for row, (_identifier, segment) in enumerate(segments):
            colour = QtWidgets.QTableWidgetItem()
            colour.setBackground(QtGui.QColor.fromRgbF(*segment.GetColor()))
            self._table.setItem(row, 0, colour)
            self._table.setItem(row, 1, QtWidgets.QTableWidgetItem(segment.GetName()))

    def selectedSegmentIDs(self) -> list[str]:
        rows = sorted({index.row() for index in self._table.selectedIndexes()})
        return [_segments(self._node)[row][0] for row in rows]

    def setSelectedSegmentIDs(self, identifiers: list[str]) -> None:
        self._table.clearSelection()
        for row, (identifier, _segment) in enumerate(_segments(self._node)):
            if identifier in identifiers:
                self._table.selectRow(row)


@cpp_class
class qMRMLSegmentEditorWidget(qMRMLWidget):
    """The Segment Editor for another module's panel; its effects exist only in Slicer."""

    segmentationNodeChanged = StandInSignal("segmentationNodeChanged(vtkMRMLSegmentationNode*)")
    sourceVolumeNodeChanged = StandInSignal("sourceVolumeNodeChanged(vtkMRMLVolumeNode*)")
    currentSegmentIDChanged = StandInSignal("currentSegmentIDChanged(QString)")

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        self._editor_node: Any = None
        self._flags = {"undo": True, "segmentation": True, "source": True, "read_only": False, "states": 10}
        self._observing_views = False
        self._shortcuts: list[QtGui.QShortcut] = []
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._table = qMRMLSegmentsTableView(self)
        self._table.setMinimumHeight(90)
        self._place = QtWidgets.QLabel("Effects of the Segment Editor (only in Slicer)", self)
        self._place.alignment = QtCore.Qt.AlignmentFlag.AlignCenter
        self._place.frameShape = QtWidgets.QFrame.Shape.StyledPanel
        self._place.setMinimumHeight(60)
        layout.addWidget(self._table)
        layout.addWidget(self._place)

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        """Use this vtkMRMLSegmentEditorNode, which holds what is chosen."""
        self._editor_node = node
        self._table.setSegmentationNode(None if node is None else node.GetSegmentationNode())

    def mrmlSegmentEditorNode(self) -> Any:
        return self._editor_node

    def _usable(self) -> Any:
        # Slicer writes an error to its log and changes nothing; a test should learn of it.
        if self.mrmlScene() is None or self._editor_node is None:
            raise RuntimeError("Set the MRML scene and the segment editor node of the widget first")
        return self._editor_node

    def setSegmentationNode(self, node: Any) -> None:
        editor = self._usable()
        if node is not editor.GetSegmentationNode():
            editor.SetAndObserveSegmentationNode(node)
            self._table.setSegmentationNode(node)
            segments = _segments(node)
            editor.SetSelectedSegmentID(segments[0][0] if segments else None)
            self.segmentationNodeChanged.emit(node)

    def segmentationNode(self) -> Any:
        return None if self._editor_node is None else self._editor_node.GetSegmentationNode()

    def setSourceVolumeNode(self, node: Any) -> None:
        editor = self._usable()
        if node is not editor.GetSourceVolumeNode():
            editor.SetAndObserveSourceVolumeNode(node)
            self.sourceVolumeNodeChanged.emit(node)

    def sourceVolumeNode(self) -> Any:
        return None if self._editor_node is None else self._editor_node.GetSourceVolumeNode()

    def currentSegmentID(self) -> str:
        return "" if self._editor_node is None else self._editor_node.GetSelectedSegmentID() or ""

    def setCurrentSegmentID(self, identifier: str) -> None:
        self._usable().SetSelectedSegmentID(identifier)
        self.currentSegmentIDChanged.emit(identifier)

    def setActiveEffectByName(self, name: str) -> None:
        self._usable().SetActiveEffectName(name)

    def setupViewObservations(self) -> None:
        self._observing_views = True

    def removeViewObservations(self) -> None:
        self._observing_views = False

    def installKeyboardShortcuts(self, parent: QtWidgets.QWidget | None = None) -> None:
        """Install the keys of the Segment Editor: digits and Space choose an effect, letters go back and forth."""
        self.uninstallKeyboardShortcuts()
        keys = (*"1234567890zyqw", "Space", "Esc")
        self._shortcuts = [QtGui.QShortcut(QtGui.QKeySequence(key), parent or self) for key in keys]

    def uninstallKeyboardShortcuts(self) -> None:
        for shortcut in self._shortcuts:
            shortcut.deleteLater()
        self._shortcuts = []

    def setSegmentationNodeSelectorVisible(self, visible: bool) -> None:
        self._flags["segmentation"] = visible

    def setSourceVolumeNodeSelectorVisible(self, visible: bool) -> None:
        self._flags["source"] = visible

    def setSwitchToSegmentationsButtonVisible(self, visible: bool) -> None:
        self._flags["switch"] = visible

    def setMaximumNumberOfUndoStates(self, count: int) -> None:
        self._flags["states"] = count

    def setReadOnly(self, read_only: bool) -> None:
        self._flags["read_only"] = read_only

    def _set_undo(self, enabled: bool) -> None:
        self._flags["undo"] = enabled

    segmentationNodeSelectorVisible = StandInProperty(
        bool, lambda self: self._flags["segmentation"], setSegmentationNodeSelectorVisible
    )
    sourceVolumeNodeSelectorVisible = StandInProperty(
        bool, lambda self: self._flags["source"], setSourceVolumeNodeSelectorVisible
    )
    maximumNumberOfUndoStates = StandInProperty(int, lambda self: self._flags["states"], setMaximumNumberOfUndoStates)
    readOnly = StandInProperty(bool, lambda self: self._flags["read_only"], setReadOnly)
    undoEnabled = StandInProperty(bool, lambda self: self._flags["undo"], _set_undo)
