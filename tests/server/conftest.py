"""One live server for all tests of this folder; uninstalled weights, published networks, real sample studies."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from needed import REPOSITORY, require_module

# Makers of DICOM studies.
sys.path.insert(0, str(REPOSITORY / "tests" / "volumes"))


@dataclass(frozen=True)
class Server:
    url: str
    studies: Path
    log: Path
    temporary: Path


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")
    from covid_bert.server.launch import running_server

    folder = tmp_path_factory.mktemp("server")
    studies = folder / "studies"
    studies.mkdir()
    shutil.copytree(REPOSITORY / "sample-data" / "lung_dx_a0001", studies / "lung_dx_a0001")
    shutil.make_archive(str(studies / "zipped"), "zip", REPOSITORY / "sample-data" / "lung_dx_a0001")
    shutil.copy(REPOSITORY / "sample-data" / "lung1_image.nrrd", studies / "lung1.nrrd")
    (studies / "broken.nrrd").write_bytes(b"NRRD0004\nnothing follows")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COVID_BERT_HOME", str(folder / "home"))
        with running_server(studies, folder / "server.log") as url:
            (temporary,) = (folder / "home" / "temporary").glob("server-*")
            yield Server(url, studies, folder / "server.log", temporary)
    assert not temporary.exists(), "nothing of a patient stays after the server's end"
