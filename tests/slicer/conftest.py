"""Tests of the 3D Slicer extension on 3D Slicer's own libraries and a stand-in for its Qt application."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXTENSION = HERE.parents[1] / "slicer_extension" / "CovidBert"
os.environ["QT_QPA_PLATFORM"] = "offscreen"
os.environ["VTK_DEFAULT_OPENGL_WINDOW"] = "vtkEGLRenderWindow"
os.environ.pop("DISPLAY", None)


def _import_slicer() -> None:
    """Import the real ``slicer``: it would take this folder, which has its name, for a part of itself."""
    kept = sys.path[:]
    sys.path[:] = [entry for entry in kept if (Path(entry or ".") / "slicer").resolve() != HERE]
    try:
        importlib.import_module("slicer.util")
    finally:
        sys.path[:] = kept


for folder in (HERE, EXTENSION):  # Slicer, too, puts a module's folder on the path
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
try:
    import PySide6.QtWidgets  # noqa: F401

    _import_slicer()
except ImportError:
    if os.environ.get("CI") == "true":
        raise
    # The process that talks to the server needs neither Qt nor MRML; its tests run everywhere.
    collect_ignore = [file.name for file in HERE.glob("test_*.py") if not file.name.startswith("test_slicer_worker")]
else:
    from slicer_fixtures import *  # noqa: F403
