"""The stand-in's forms, CTK and MRML widgets, views and modules beside what Slicer documents."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctk
import numpy as np
import pytest
import slicer
import vtk
from mrml_samples import picture

from standin import loading

FORM = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0"><class>Demo</class>
<widget class="qMRMLWidget" name="Demo"><layout class="QVBoxLayout" name="rows">
 <item><widget class="ctkCollapsibleButton" name="server"><property name="text"><string>Server</string></property>
  <property name="collapsed"><bool>true</bool></property>
  <layout class="QFormLayout"><item row="0" column="0"><widget class="QLineEdit" name="token"/></item></layout>
 </widget></item>
 <item><widget class="qMRMLNodeComboBox" name="volume">
  <property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
  <property name="noneEnabled"><bool>true</bool></property></widget></item>
 <item><widget class="ctkPathLineEdit" name="certificate"/></item>
 <item><widget class="ctkSliderWidget" name="opacity"><property name="maximum"><double>1.0</double></property>
 </widget></item>
 <item><widget class="{last}" name="last"/></item>
</layout></widget>
<customwidgets/>
<connections><connection><sender>Demo</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
 <receiver>volume</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>
"""

MODULE = """
import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import *
class Demo(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Demo")
        self.parent.categories = ["Chest"]
class DemoWidget(ScriptedLoadableModuleWidget):
    log = []
    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        form = slicer.util.loadUI(self.resourcePath("UI/Demo.ui"))
        self.layout.addWidget(form)
        self.ui = slicer.util.childWidgetVariables(form)
        form.setMRMLScene(slicer.mrmlScene)
        self.log.append("setup")
    def enter(self):
        self.log.append("enter")
    def cleanup(self):
        self.log.append("cleanup")
class DemoLogic(ScriptedLoadableModuleLogic):
    pass
class DemoTest(ScriptedLoadableModuleTest):
    def runTest(self):
        slicer.selfTestRan = True
"""


@pytest.fixture
def demo(application: Any, tmp_path: Path) -> Path:
    (tmp_path / "Resources" / "UI").mkdir(parents=True)
    (tmp_path / "Resources" / "UI" / "Demo.ui").write_text(FORM.format(last="QTextBrowser"))
    (tmp_path / "Demo.py").write_text(MODULE)
    yield tmp_path / "Demo.py"
    loading.unload_module("Demo")


@pytest.fixture
def volume(scene: Any) -> Any:
    values = np.full((20, 30, 40), -800, np.int16)
    values[:, 10:20] = 40
    return slicer.util.addVolumeFromArray(values, name="CT")


def lungs_of(volume: Any) -> Any:
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "lungs")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    mask = np.zeros((20, 30, 40), np.uint8)
    mask[5:15, 5:25, 5:15] = 1
    identifier = segmentation.GetSegmentation().AddEmptySegment("right", "right", (1.0, 0.0, 0.0))
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, identifier, volume)
    return segmentation


def test_a_module_is_loaded_shown_reloaded_and_let_go(demo: Path, volume: Any) -> None:
    module = loading.load_module(demo)
    assert slicer.modules.demo.path == str(demo)
    assert (module.parent.title, module.parent.categories) == ("Demo", ("Chest",))
    widget = loading.build_widget("Demo")
    log = type(widget).log
    assert log == ["setup", "enter"]
    assert slicer.modules.DemoWidget is widget
    widget.ui.volume.setCurrentNode(volume)
    assert widget.ui.volume.currentNodeID == volume.GetID()
    slicer.util.reloadScriptedModule("Demo")
    assert log == ["setup", "enter", "cleanup"]
    assert slicer.modules.DemoWidget is not widget
    slicer.selfTests["Demo"]()
    assert slicer.selfTestRan


def test_a_form_with_an_unknown_widget_is_refused(application: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.ui").write_text(FORM.format(last="ctkFancyWidget"))
    with pytest.raises(RuntimeError, match="ctkFancyWidget"):
        slicer.util.loadUI(str(tmp_path / "bad.ui"))


def test_widgets_of_ctk(demo: Path, tmp_path: Path) -> None:
    form = slicer.util.loadUI(str(demo.parent / "Resources" / "UI" / "Demo.ui"))
    ui = slicer.util.childWidgetVariables(form)
    form.show()
    assert ui.server.collapsed
    folded = ui.server.height
    seen: list[Any] = []
    ui.server.connect("contentsCollapsed(bool)", seen.append)
    ui.server.click()
    slicer.app.processEvents()
    assert (seen, ui.server.collapsed) == ([False], False)
    assert ui.server.height > folded
    assert ui.token.y >= folded - 4
    assert ui.token.height > 10
    ui.certificate.connect("currentPathChanged(QString)", seen.append)
    ui.certificate.currentPath = "/etc/ca.pem"
    ui.opacity.connect("valueChanged(double)", seen.append)
    ui.opacity.value = 0.5
    assert seen[1:] == ["/etc/ca.pem", 0.5]
    with pytest.raises(AttributeError):
        ctk.ctkNothing  # noqa: B018


def test_python_of_slicer_is_beside_the_application(application: Any) -> None:
    command = [str(Path(application.slicerHome) / "bin" / "PythonSlicer"), "-c", "print(1)"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "1\n"


def test_the_node_selector_follows_the_scene(scene: Any) -> None:
    combo, seen = slicer.qMRMLNodeComboBox(), []
    combo.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    combo.hideChildNodeTypes = ["vtkMRMLLabelMapVolumeNode"]
    combo.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
    combo.setMRMLScene(scene)
    first = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "first")
    second = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "second")
    scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "mask")
    assert (combo.nodeCount(), combo.currentNode(), seen) == (2, first, [first])
    combo.currentNodeID = second.GetID()
    scene.RemoveNode(second)
    assert (combo.currentNode(), seen) == (first, [first, second, first])
    combo.noneEnabled = True
    combo.setCurrentNode(None)
    assert (combo.currentNode(), combo.currentNodeID) == (None, "")
    scene.Clear(0)
    assert combo.nodeCount() == 0


def test_the_segment_editor_keeps_its_choice_in_its_node(volume: Any, scene: Any) -> None:
    editor, segmentation = slicer.qMRMLSegmentEditorWidget(), lungs_of(volume)
    with pytest.raises(RuntimeError):
        editor.setSegmentationNode(segmentation)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.setMRMLScene(scene)
    editor.setMRMLSegmentEditorNode(node)
    editor.setSegmentationNode(segmentation)
    editor.setSourceVolumeNode(volume)
    assert node.GetSegmentationNode() is segmentation
    assert node.GetSourceVolumeNode() is volume
    assert editor.currentSegmentID() == "right"


def test_views_show_volume_mask_overlay_and_legend(volume: Any, render_slice: Callable, tmp_path: Path) -> None:
    volume.CreateDefaultDisplayNodes()
    volume.GetDisplayNode().AutoWindowLevelOff()
    volume.GetDisplayNode().SetWindowLevel(1500, -500)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    plain = picture(render_slice("Red", tmp_path / "plain.png"))
    assert len(np.unique(plain)) > 1
    lungs_of(volume).GetDisplayNode().SetOpacity2DFill(0.4)
    masked = picture(render_slice("Red", tmp_path / "masked.png"))
    red = (masked[..., 0] - masked[..., 1]) > 30
    assert 0.05 < red.mean() < 0.5
    # The fill is half transparent: both tissues can be told apart below it.
    inside = masked[red][:, 1]
    assert inside.max() - inside.min() > 20

    shares = np.linspace(0, 1, 24000, dtype=np.float32).reshape(20, 30, 40)
    location = slicer.util.addVolumeFromArray(shares, name="location")
    location.CreateDefaultDisplayNodes()
    location.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeWarm1")
    slicer.util.setSliceViewerLayers(foreground=location, foregroundOpacity=0.5)
    overlaid = picture(render_slice("Red", tmp_path / "overlaid.png"))
    assert np.abs(overlaid - masked).mean() > 5
    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(location)
    legend.SetTitleText("share")
    shown = picture(render_slice("Red", tmp_path / "legend.png"))
    assert (np.abs(shown - overlaid).max(axis=2) > 30).sum() > 500


def test_a_view_shows_what_is_loaded_after_it_was_made(volume: Any, render_slice: Callable, tmp_path: Path) -> None:
    empty = picture(render_slice("Red", tmp_path / "empty.png"))
    assert len(np.unique(empty)) == 1
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    assert len(np.unique(picture(render_slice("Red", tmp_path / "loaded.png")))) > 1
    slicer.util.setSliceViewerLayers(background=None)
    assert np.array_equal(picture(render_slice("Red", tmp_path / "again.png")), empty)


def test_the_3d_view_shows_a_segmentation(volume: Any, render_3d: Callable, tmp_path: Path) -> None:
    lungs_of(volume).CreateClosedSurfaceRepresentation()
    shown = picture(render_3d(tmp_path / "view.png"))
    assert ((shown[..., 0] - shown[..., 1]) > 80).mean() > 0.005


def test_the_slice_that_is_shown_can_be_followed(volume: Any, application: Any) -> None:
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    node, seen = application.layoutManager().sliceWidget("Red").mrmlSliceNode(), []
    node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: seen.append(node.GetSliceOffset()))
    node.JumpSliceByCentering(0, 0, 12)
    assert seen[-1] == 12


def test_a_scene_goes_through_a_bundle(volume: Any, scene: Any, tmp_path: Path) -> None:
    logic = slicer.ScriptedLoadableModule.ScriptedLoadableModuleLogic()
    logic.moduleName = "CovidBert"
    logic.getParameterNode().SetParameter("model", "study")
    assert logic.getParameterNode() is logic.getParameterNode()
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    assert slicer.util.arrayFromVolume(slicer.util.getNode("CT")).max() == 40
    assert logic.getParameterNode().GetParameter("model") == "study"
