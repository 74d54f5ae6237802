from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest

# Makers of DICOM series, of volumes, of results and of certificates.
sys.path[:0] = [str(Path(__file__).resolve().parents[1] / part) for part in ("volumes", "report/dicom", "client")]


@pytest.fixture(autouse=True)
def _own_temporary_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A router says where temporary files go; the next test has its own place."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
