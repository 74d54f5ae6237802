"""For tests of the panel: Slicer's interpreter on the path, and a dark theme for pictures."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import qt

REPOSITORY = Path(__file__).resolve().parents[2]
if str(REPOSITORY / "tests") not in sys.path:  # where pytest puts it, unless these tests are run alone
    sys.path.append(str(REPOSITORY / "tests"))

__all__ = ["dark_theme", "find_panel", "python_slicer"]


@pytest.fixture
def python_slicer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put ``PythonSlicer`` on the path, as Slicer does: a launcher that waits for the interpreter of these tests."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "PythonSlicer"
    script.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n')
    script.chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return script


def find_panel(module_widget: Any) -> Any:
    """Return the panel of the module with 400 px width, the narrowest that Slicer gives by itself."""
    panel = module_widget.panel
    module_widget.parent.resize(400, 900)
    return panel


def dark_theme() -> Any:
    """Return the palette of Slicer's dark style."""
    palette = qt.QPalette()
    colors = {
        "Window": "#353535",
        "WindowText": "#ffffff",
        "Base": "#2a2a2a",
        "AlternateBase": "#353535",
        "Text": "#ffffff",
        "Button": "#353535",
        "ButtonText": "#ffffff",
        "ToolTipBase": "#2a2a2a",
        "ToolTipText": "#ffffff",
        "Highlight": "#2a82da",
        "HighlightedText": "#ffffff",
        "Link": "#56a5ec",
        "PlaceholderText": "#909090",
    }
    for role, color in colors.items():
        palette.setColor(getattr(qt.QPalette, role), qt.QColor(color))
    for role in ("WindowText", "Text", "ButtonText"):
        palette.setColor(qt.QPalette.Disabled, getattr(qt.QPalette, role), qt.QColor("#808080"))
    return palette
