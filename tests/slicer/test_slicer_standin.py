"""The stand-in speaks Qt as PythonQt documents it, and refuses what PythonQt refuses."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import ctk
import pytest
import qt
import slicer

pytestmark = pytest.mark.usefixtures("application")


class TestProperties:
    def test_a_property_is_an_attribute(self) -> None:
        label = qt.QLabel("lungs")
        assert label.text == "lungs"
        label.text = "lesions"
        assert label.text == "lesions"
        label.setText("left")
        assert label.text == "left"

    def test_a_getter_of_a_property_is_no_method(self) -> None:
        label, table = qt.QLabel("x"), qt.QTableWidget(2, 3)
        for owner, name in ((label, "text"), (label, "width"), (label, "size"), (table, "rowCount")):
            with pytest.raises(TypeError):
                getattr(owner, name)()

    def test_getters_of_another_name_are_methods_beside_the_property(self) -> None:
        button = qt.QPushButton("x")
        button.checkable = True
        button.checked = True
        assert (button.checked, button.isChecked()) == (True, True)
        button.enabled = False
        assert (button.enabled, button.isEnabled(), button.visible) == (False, False, False)

    def test_enumerations_and_flags(self) -> None:
        line, label = qt.QLineEdit(), qt.QLabel()
        line.echoMode = qt.QLineEdit.Password
        assert line.echoMode == qt.QLineEdit.Password
        label.alignment = qt.Qt.AlignLeft | qt.Qt.AlignTop
        assert label.alignment & qt.Qt.AlignLeft

    @pytest.mark.parametrize("value", [None, 5, ["x"]])
    def test_a_property_refuses_another_type(self, value: Any) -> None:
        with pytest.raises(AttributeError):
            qt.QLabel().text = value

    def test_a_read_only_property_and_a_method_cannot_be_set(self) -> None:
        for name in ("width", "click", "clicked"):
            with pytest.raises(AttributeError):
                setattr(qt.QPushButton(), name, 5)

    def test_only_python_classes_take_new_attributes(self) -> None:
        class Panel(qt.QWidget):
            pass

        panel = Panel()
        panel.result = 5
        assert panel.result == 5
        for widget in (qt.QWidget(), ctk.ctkCollapsibleButton(), slicer.qMRMLNodeComboBox()):
            with pytest.raises(AttributeError):
                widget.result = 5

    def test_name_class_name_children_and_dynamic_properties(self) -> None:
        panel = qt.QWidget()
        child = qt.QLabel("inside", panel)
        child.name = "inner"
        assert child.objectName == "inner"
        assert panel.inner.text == "inside"
        assert panel.children() == (child,)
        assert child.className() == "QLabel"
        child.setProperty("kind", "warning")
        assert child.kind == "warning"
        with pytest.raises(AttributeError):
            panel.outer  # noqa: B018

    def test_lists_arrive_as_tuples(self) -> None:
        combo = slicer.qMRMLNodeComboBox()
        combo.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        assert combo.nodeTypes == ("vtkMRMLScalarVolumeNode",)


class TestSignals:
    def test_by_attribute_and_by_signature(self) -> None:
        button, calls = qt.QPushButton(), []
        button.checkable = True
        button.clicked.connect(lambda: calls.append("attribute"))
        button.clicked.connect(lambda checked: calls.append(("attribute", checked)))
        button.connect("clicked()", lambda: calls.append("signature"))
        button.connect("clicked(bool)", lambda checked: calls.append(("signature", checked)))
        button.click()
        assert calls == ["attribute", ("attribute", True), "signature", ("signature", True)]

    def test_only_python_functions_have_their_arguments_cut(self) -> None:
        button, calls = qt.QPushButton(), []
        button.clicked.connect(functools.partial(lambda *arguments: calls.append(arguments), "partial"))
        button.click()
        assert calls == [("partial", False)]

    def test_the_function_is_held(self) -> None:
        class Receiver:
            calls = 0

            def on_click(self) -> None:
                Receiver.calls += 1

        button = qt.QPushButton()
        button.clicked.connect(Receiver().on_click)
        button.click()
        assert Receiver.calls == 1

    def test_disconnect(self) -> None:
        button, calls = qt.QPushButton(), []
        slot = lambda: calls.append(1)  # noqa: E731
        button.connect("clicked()", slot)
        assert button.disconnect("clicked()", slot)
        assert not button.disconnect("clicked()", slot)
        button.clicked.connect(slot)
        assert button.clicked.disconnect(slot)
        button.click()
        assert calls == []

    def test_a_wrong_signature_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="no signal"):
            qt.QPushButton().connect("pressed(bool)", print)

    def test_an_error_in_a_slot_does_not_reach_the_caller(self, slot_errors: list[BaseException]) -> None:
        button = qt.QPushButton()
        button.clicked.connect(lambda: 1 / 0)
        button.click()
        assert [type(error) for error in slot_errors] == [ZeroDivisionError]
        slot_errors.clear()

    def test_what_only_pyside_has_is_not_there(self) -> None:
        for name in ("Signal", "Slot", "Property", "QtCore"):
            assert not hasattr(qt, name)


class TestQt:
    def test_a_process(self, wait_until) -> None:
        process, lines, ends = qt.QProcess(), [], []
        process.connect("readyReadStandardOutput()", lambda: lines.append(process.readAllStandardOutput().data()))
        process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: ends.append((code, status)))
        process.start(sys.executable, ["-c", "print(input())"])
        process.write(b"hello\n")
        process.closeWriteChannel()
        wait_until(lambda: ends)
        assert b"".join(lines).split() == [b"hello"]
        assert ends == [(0, qt.QProcess.NormalExit)]
        assert process.state() == qt.QProcess.NotRunning

    def test_a_process_that_cannot_start(self, wait_until, tmp_path: Path) -> None:
        process, errors = qt.QProcess(), []
        process.connect("errorOccurred(QProcess::ProcessError)", errors.append)
        process.start(str(tmp_path / "none"), [])
        wait_until(lambda: errors)
        assert errors == [qt.QProcess.FailedToStart]

    def test_bytes_come_from_data_only(self) -> None:
        assert qt.QByteArray(b"x").data() == b"x"
        with pytest.raises(TypeError):
            bytes(qt.QByteArray(b"x"))

    def test_a_single_shot_holds_its_method(self, wait_until) -> None:
        class Receiver:
            calls = 0

            def on_time(self) -> None:
                Receiver.calls += 1

        qt.QTimer.singleShot(1, Receiver().on_time)
        wait_until(lambda: Receiver.calls)
        assert Receiver.calls == 1

    def test_timers(self, wait_until) -> None:
        fired: list[str] = []
        qt.QTimer.singleShot(0, lambda: fired.append("once"))
        timer = qt.QTimer()
        timer.interval = 1
        timer.connect("timeout()", lambda: fired.append("again"))
        timer.start()
        wait_until(lambda: fired.count("again") > 1)
        timer.stop()
        assert fired.count("once") == 1

    def test_settings(self, application: Any, tmp_path: Path) -> None:
        application.userSettings().setValue("CovidBert/names", ["a", "b"])
        assert qt.QSettings().value("CovidBert/names") == ("a", "b")
        assert qt.QSettings().value("CovidBert/none", "default") == "default"
        assert qt.QSettings().value("CovidBert/none") is None
        assert str(tmp_path) in qt.QSettings().fileName()
        assert slicer.util.settingsValue("CovidBert/none", 3, converter=int) == 3

    def test_an_event_filter(self) -> None:
        class Filter(qt.QObject):
            def __init__(self) -> None:
                super().__init__()
                self.places: list[tuple[int, int]] = []

            def eventFilter(self, watched: Any, event: Any) -> bool:
                if event.type() == qt.QEvent.MouseButtonPress:
                    self.places.append((event.pos().x(), event.pos().y()))
                return False

        label, watcher = qt.QLabel(), Filter()
        label.installEventFilter(watcher)
        place, left = qt.QPointF(7, 8), qt.Qt.LeftButton
        event = qt.QMouseEvent(qt.QEvent.MouseButtonPress, place, place, left, left, qt.Qt.NoModifier)
        slicer.app.sendEvent(label, event)
        assert watcher.places == [(7, 8)]

    def test_painting_a_picture_and_a_pdf(self, tmp_path: Path) -> None:
        picture = qt.QPixmap(40, 20)
        picture.fill(qt.QColor("white"))
        painter = qt.QPainter(picture)
        painter.setPen(qt.QPen(qt.QColor("#aa0000"), 3))
        painter.drawLine(0, 10, 40, 10)
        painter.end()
        label = qt.QLabel()
        label.setPixmap(picture)
        assert label.pixmap.width() == 40
        assert picture.toImage().pixelColor(20, 10) == qt.QColor("#aa0000")
        writer = qt.QPdfWriter(str(tmp_path / "report.pdf"))
        painter = qt.QPainter(writer)
        painter.drawText(100, 100, "Research use only")
        painter.end()
        assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")

    def test_a_file_dialog_answers_with_the_file_alone(self) -> None:
        closer = qt.QTimer()

        def close_dialog() -> None:
            if qt.QApplication.activeModalWidget() is not None:
                qt.QApplication.activeModalWidget().reject()

        closer.timeout.connect(close_dialog)
        closer.start(20)
        answer = qt.QFileDialog.getSaveFileName(None, "Export", "", "CSV (*.csv)")
        closer.stop()
        assert answer == ""
