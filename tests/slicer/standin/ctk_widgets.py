"""Widgets of CTK: their documented properties, slots and signals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from standin.forms import cpp_class
from standin.pythonqt import StandInProperty
from standin.signals import StandInSignal

UNLIMITED = 16_777_215  # QWIDGETSIZE_MAX


@cpp_class
class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A header that shows and hides the widgets below it."""

    contentsCollapsed = StandInSignal("contentsCollapsed(bool)")

    def __init__(self, text: Any = "", parent: QtWidgets.QWidget | None = None):
        super().__init__(parent if isinstance(text, str) else text)
        self.setCheckable(True)
        self.setChecked(True)
        self.setText(text if isinstance(text, str) else "")
        self.setContentsMargins(0, self._header_height(), 0, 0)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Preferred)
        self._collapsed = False
        self.toggled.connect(lambda checked: self.setCollapsed(not checked))

    def _header_height(self) -> int:
        return QtGui.QFontMetrics(self.font).height() + 10

    def isCollapsed(self) -> bool:
        return self._collapsed

    def setCollapsed(self, collapsed: bool) -> None:
        """Hide (True) or show the contents."""
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        self.setChecked(not collapsed)
        self.setMaximumHeight(self._header_height() if collapsed else UNLIMITED)
        self.updateGeometry()
        self.update()
        self.contentsCollapsed.emit(collapsed)

    collapsed = StandInProperty(bool, isCollapsed, setCollapsed)

    def hitButton(self, position: QtCore.QPoint) -> bool:
        return position.y() <= self._header_height()

    def sizeHint(self) -> QtCore.QSize:
        layout = self.layout()
        if layout is None or self._collapsed:
            return QtCore.QSize(QtGui.QFontMetrics(self.font).horizontalAdvance(self.text) + 30, self._header_height())
        return layout.totalSizeHint()

    def minimumSizeHint(self) -> QtCore.QSize:
        layout = self.layout()
        if layout is None or self._collapsed:
            return QtCore.QSize(0, self._header_height())
        return layout.totalMinimumSize()

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtWidgets.QStylePainter(self)
        header = QtWidgets.QStyleOptionButton()
        header.initFrom(self)
        header.rect = QtCore.QRect(0, 0, self.width, self._header_height() - 2)
        header.state |= QtWidgets.QStyle.StateFlag.State_Raised
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, header)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(8, 6, 12, self._header_height() - 14)
        element = QtWidgets.QStyle.PrimitiveElement
        painter.drawPrimitive(
            element.PE_IndicatorArrowRight if self._collapsed else element.PE_IndicatorArrowDown, arrow
        )
        painter.drawText(header.rect.adjusted(26, 0, 0, 0), QtCore.Qt.AlignmentFlag.AlignVCenter, self.text)


@cpp_class
class ctkCollapsibleGroupBox(QtWidgets.QGroupBox):
    """A group box that folds when its title is unchecked."""

    def __init__(self, title: Any = "", parent: QtWidgets.QWidget | None = None):
        super().__init__(parent if isinstance(title, str) else title)
        self.setTitle(title if isinstance(title, str) else "")
        self.setCheckable(True)
        self.toggled.connect(lambda checked: self.setMaximumHeight(UNLIMITED if checked else 22))

    def _is_collapsed(self) -> bool:
        return not self.isChecked()

    def setCollapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = StandInProperty(bool, _is_collapsed, setCollapsed)


@cpp_class
class ctkPathLineEdit(QtWidgets.QWidget):
    """A path with a button that browses for it."""

    currentPathChanged = StandInSignal("currentPathChanged(QString)")
    validInputChanged = StandInSignal("validInputChanged(bool)")
    Dirs, Drives, Files, Readable, Writable, Executable = 1, 4, 2, 16, 32, 64

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._edit, self._button = QtWidgets.QLineEdit(self), QtWidgets.QToolButton(self)
        self._button.text = "..."
        layout.addWidget(self._edit)
        layout.addWidget(self._button)
        self._name_filters: list[str] = []
        self._setting_key = ""
        self._filters = self.Files
        self._edit.textChanged.connect(self.currentPathChanged.emit)
        self._button.clicked.connect(self.browse)

    def _path(self) -> str:
        return self._edit.text

    def setCurrentPath(self, path: str) -> None:
        self._edit.text = path

    currentPath = StandInProperty(str, _path, setCurrentPath)

    def _get_name_filters(self) -> list[str]:
        return self._name_filters

    def _set_name_filters(self, filters: list[str]) -> None:
        self._name_filters = list(filters)

    nameFilters = StandInProperty("QStringList", _get_name_filters, _set_name_filters)

    def _get_setting_key(self) -> str:
        return self._setting_key

    def _set_setting_key(self, key: str) -> None:
        self._setting_key = key

    settingKey = StandInProperty(str, _get_setting_key, _set_setting_key)

    def _get_filters(self) -> int:
        return self._filters

    def _set_filters(self, filters: int) -> None:
        self._filters = filters

    filters = StandInProperty(int, _get_filters, _set_filters)

    def browse(self) -> None:
        """Ask for a file, or a folder where ``filters`` allows folders only."""
        if self._filters & self.Files:
            path = QtWidgets.QFileDialog.getOpenFileName(self, "", self._path(), ";;".join(self._name_filters))
        else:
            path = QtWidgets.QFileDialog.getExistingDirectory(self, "", self._path())
        if path:
            self.setCurrentPath(path)

    def addCurrentPathToHistory(self) -> None:
        """Remember the path under ``settingKey``."""
        if not self._setting_key or not Path(self._path()).exists():
            return
        settings = QtCore.QSettings()
        history = settings.value(self._setting_key, [])
        history = [history] if isinstance(history, str) else list(history)
        settings.setValue(self._setting_key, [self._path(), *[path for path in history if path != self._path()]])


@cpp_class
class ctkSliderWidget(QtWidgets.QWidget):
    """A slider for real numbers with a box that shows the number."""

    valueChanged = StandInSignal("valueChanged(double)")

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal, self)
        self._box = QtWidgets.QDoubleSpinBox(self)
        layout.addWidget(self._slider)
        layout.addWidget(self._box)
        self._slider.maximum = 1000
        self._box.maximum = 100.0
        self._box.valueChanged.connect(self._value_changed)
        self._slider.sliderMoved.connect(
            lambda place: self.setValue(self.minimum + (self.maximum - self.minimum) * place / 1000)
        )

    def _value_changed(self, value: float) -> None:
        span = self.maximum - self.minimum
        self._slider.setValue(round(1000 * (value - self.minimum) / span) if span else 0)
        self.valueChanged.emit(value)

    def setValue(self, value: float) -> None:
        self._box.setValue(value)

    value = StandInProperty(float, lambda self: self._box.value, setValue)
    minimum = StandInProperty(float, lambda self: self._box.minimum, lambda self, value: self._box.setMinimum(value))
    maximum = StandInProperty(float, lambda self: self._box.maximum, lambda self, value: self._box.setMaximum(value))
    singleStep = StandInProperty(
        float, lambda self: self._box.singleStep, lambda self, value: self._box.setSingleStep(value)
    )
    decimals = StandInProperty(int, lambda self: self._box.decimals, lambda self, value: self._box.setDecimals(value))
    suffix = StandInProperty(str, lambda self: self._box.suffix, lambda self, value: self._box.setSuffix(value))
