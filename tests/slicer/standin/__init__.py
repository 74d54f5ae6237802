"""A stand-in for what 3D Slicer's Qt application offers, over PySide6 and 3D Slicer's own libraries.

Real (from the package ``slicer-core``): the MRML scene and nodes, segmentations, volumes, transforms, subject
hierarchy, colour legend, slice logic, displayable managers that draw the views, and ``slicer.util``. The stand-in
adds, and nothing beyond what PythonQt, CTK and Slicer document:

=============================== ===================================================================================
``qt``                          Qt of PySide6 with PythonQt's manners (``standin.pythonqt``) and ``QUiLoader``
``ctk``                         ctkCollapsibleButton, ctkCollapsibleGroupBox, ctkPathLineEdit, ctkSliderWidget
``slicer.qMRML...``             qMRMLWidget, qMRMLNodeComboBox, qMRMLSegmentsTableView, qMRMLSegmentEditorWidget
                                (choice and table; the effects exist only in Slicer)
``slicer.app``                  mrmlScene, applicationLogic, layoutManager (Red, Yellow, Green, one 3-D view),
                                moduleManager, coreIOManager (scenes and volumes), settings in a file of the test,
                                temporaryPath, os, and what QApplication has (processEvents, aboutToQuit)
``slicer.modules``              one entry for each real logic, with ``logic()``; loaded scripted modules with ``path``
                                and ``widgetRepresentation()``
``slicer.ScriptedLoadableModule`` module, widget, logic with its parameter node, test case
``slicer.i18n``                 ``tr``, ``translate``, ``getContext``
=============================== ===================================================================================

Where Slicer would only write to its log (a signal that does not exist, a form with an unknown widget, an editor without
its node), the stand-in raises, so that a test learns of it. Two known differences remain: ``sizeHint`` and
``minimumSizeHint`` are methods here and attributes in PythonQt, and lists that methods return (other than ``children``,
``findChildren`` and those of ``QSettings``) stay lists here and are tuples there.
"""

from __future__ import annotations

import sys
import types
from typing import Any

from standin import pythonqt


def install() -> Any:
    """Make ``qt``, ``ctk`` and the rest of ``slicer`` importable and return ``slicer.app``.

    A second call only returns it.
    """
    import slicer
    import slicer.util

    if hasattr(slicer, "app"):
        return slicer.app
    pythonqt.change_pyside()
    # The classes can be made only after Qt speaks as PythonQt; importing a module of widgets registers them.
    from standin import ctk_widgets, forms, loading, scripted, segment_editor  # noqa: F401
    from standin.application import qSlicerApplication

    sys.modules["qt"] = forms.QtModule("qt")
    sys.modules["ctk"] = forms.CtkModule("ctk")
    loadable = types.ModuleType("slicer.ScriptedLoadableModule")
    names = [name for name in vars(scripted) if name.startswith("ScriptedLoadableModule")]
    for name in names:
        setattr(loadable, name, getattr(scripted, name))
    loadable.__all__ = names  # type: ignore[attr-defined]
    translation = types.ModuleType("slicer.i18n")
    for name in ("tr", "translate", "getContext"):
        setattr(translation, name, getattr(scripted, name))
    for module in (loadable, translation):
        sys.modules[module.__name__] = module
        setattr(slicer, module.__name__.rsplit(".", 1)[1], module)
    for name, widget in forms.WIDGETS.items():
        if name.startswith("q"):
            setattr(slicer, name, widget)
    slicer.app = qSlicerApplication()
    return slicer.app
