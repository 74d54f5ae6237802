from __future__ import annotations

from pathlib import Path

import pytest
from label_sites import archive, elsewhere, site  # noqa: F401 - fixtures
from small_images import write_image

from covid_bert.datastore.label_set import read_label_set
from covid_bert.datastore.store import StudyDatastore
from covid_bert.retraining.cases import LabelSet
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


@pytest.fixture
def labels(folder: Path, tmp_path: Path):
    def read(rule: str = "newest", *, masks: bool = True, **other) -> LabelSet:
        return read_label_set(folder, rule, masks=masks, cache=tmp_path / "cache", **other)

    return read
