"""Whether a DICOM file is what its class must be, by dicom3tools' dciodvfy."""

from __future__ import annotations

import subprocess
from pathlib import Path

from needed import require_program


def errors_of(path: Path) -> list[str]:
    """Return what dciodvfy calls an error; its warnings are about taste, and about what the source lacks."""
    program = require_program("dciodvfy", "dicom3tools")
    checked = subprocess.run([program, str(path)], capture_output=True, text=True, errors="replace", timeout=120)
    lines = (checked.stdout + checked.stderr).splitlines()
    return [line for line in lines if line.startswith(("Error", "Abort")) or "can't" in line.lower()]
