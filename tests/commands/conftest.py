from __future__ import annotations

import sys
from pathlib import Path

import pytest

from covid_bert.phantom import write
from needed import REPOSITORY

# Makers of DICOM studies.
sys.path.insert(0, str(REPOSITORY / "tests" / "volumes"))


@pytest.fixture
def chest(tmp_path: Path, phantom) -> Path:
    return write(phantom, tmp_path / "chest.nii.gz")
