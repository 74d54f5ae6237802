"""COVID-BERT: classification of chest CT studies in 3D Slicer. The work is done in CovidBertLib; this file wires it."""

from __future__ import annotations

import sys

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from CovidBertLib.panel import SECTIONS, Panel
from CovidBertLib.sample_data import register_sample_data


class CovidBert(ScriptedLoadableModule):
    """What Slicer shows of the module in its menus."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("COVID-BERT")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Classification")]
        parent.dependencies = []
        parent.contributors = ["The covid-bert authors"]
        parent.helpText = _(
            "Classifies chest CT studies on a covid-bert server and shows what the decision rests on. "
            "Research use only: not a medical device, not for diagnosis."
        )
        parent.acknowledgementText = _("Built on MONAI Label and 3D Slicer.")
        # The module of sample data may be loaded after this one.
        slicer.app.connect("startupCompleted()", register_sample_data)


class CovidBertLogic(ScriptedLoadableModuleLogic):
    """Keeps what is chosen in the scene."""


class CovidBertWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Puts the panel where Slicer wants it, and tells it what happens in the scene."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.panel = None

    def setup(self):
        """Build the panel."""
        ScriptedLoadableModuleWidget.setup(self)
        self.logic = CovidBertLogic()
        self.panel = Panel(self.resourcePath, self.logic.getParameterNode)
        self.layout.addWidget(self.panel.widget)
        self.panel.build(SECTIONS)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, lambda *_arguments: self.panel.scene_closing())
        self.addObserver(scene, scene.EndCloseEvent, lambda *_arguments: self.panel.scene_closed())
        self.addObserver(scene, scene.EndImportEvent, lambda *_arguments: self.panel.restore())
        self.addObserver(scene, scene.NodeRemovedEvent, self.on_node_removed)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def on_node_removed(self, scene, _event, node):
        """Tell the panel of a node that has left, unless all of them do."""
        if not scene.IsClosing():
            self.panel.node_removed(node)

    def enter(self):
        """The panel is shown."""
        for section in self.panel.sections:
            section.enter()

    def exit(self):
        """Another module is shown."""
        for section in self.panel.sections:
            section.exit()

    def cleanup(self):
        """The module is reloaded, or Slicer ends."""
        self.removeObservers()
        if self.panel is not None:
            self.panel.cleanup()

    def onReload(self):  # noqa: N802 - Slicer calls it by this name
        """Reload the parts of the module too (the button of Slicer's developer mode)."""
        for name in [name for name in sys.modules if name.split(".")[0] == "CovidBertLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)


class CovidBertTest(ScriptedLoadableModuleTest):
    """The whole path, from a study to its corrected mask on the server."""

    def runTest(self, **_arguments):  # noqa: N802 - Slicer calls it by this name
        """Run it (the button Reload and Test of Slicer's developer mode)."""
        from CovidBertLib.self_test import run

        run(self)
