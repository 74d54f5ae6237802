from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from covid_bert.phantom import write, write_dicom
from needed import require_module


@pytest.fixture(autouse=True, scope="session")
def _monailabel() -> None:
    require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory, phantom) -> Path:
    folder = tmp_path_factory.mktemp("studies")
    write(phantom, folder / "chest.nii.gz")
    write(phantom, folder / "chest2.nrrd")
    write_dicom(phantom, folder / "series.1.2.3")
    write_dicom(phantom, folder / "other")
    shutil.make_archive(str(folder / "zipped"), "zip", folder / "other")
    shutil.rmtree(folder / "other")
    (folder / "broken.nii.gz").write_bytes(b"not a study")
    return folder


@pytest.fixture(scope="module")
def app(studies: Path):
    from covid_bert.main import CovidBertApp

    return CovidBertApp(app_dir=str(Path(__file__).parent), studies=str(studies), conf={})
