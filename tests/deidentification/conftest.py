from __future__ import annotations

import sys

import pytest

from needed import REPOSITORY

# Makers of DICOM studies and results, and the command line.
for _folder in ("volumes", "commands", "report/dicom"):
    sys.path.insert(0, str(REPOSITORY / "tests" / _folder))


@pytest.fixture
def exported(tmp_path):
    """Calls the command on ``tmp_path / "source"`` and returns exit code, text and target."""
    from command_line import run

    def call(*options, target="target", project="lungs-2026", source="source"):
        code, shown = run("deidentify", tmp_path / source, tmp_path / target, "--project", project, *options)
        return code, shown, tmp_path / target

    return call
