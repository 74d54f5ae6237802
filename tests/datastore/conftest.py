from __future__ import annotations

from pathlib import Path

import pytest
from small_images import write_image

from covid_bert.datastore.store import StudyDatastore
from needed import require_module


@pytest.fixture(autouse=True, scope="session")
def _monailabel() -> None:
    require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    studies = tmp_path / "studies"
    studies.mkdir()
    write_image(studies / "chest.nii.gz")
    return studies


@pytest.fixture
def store(folder: Path) -> StudyDatastore:
    return StudyDatastore(str(folder))
