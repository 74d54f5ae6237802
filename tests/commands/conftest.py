from __future__ import annotations

from pathlib import Path

import pytest

from covid_bert.phantom import write


@pytest.fixture
def chest(tmp_path: Path, phantom) -> Path:
    return write(phantom, tmp_path / "chest.nii.gz")
