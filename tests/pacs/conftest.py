from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest

# Makers of DICOM series, of volumes, of results and of certificates.
sys.path[:0] = [str(Path(__file__).resolve().parents[1] / part) for part in ("volumes", "report/dicom", "client")]


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory):
    """A real archive for the tests of a file; `archive_maker.PASSWORD` opens it."""
    from archive_maker import USERS

    from orthanc_server import running_orthanc

    with running_orthanc(tmp_path_factory.mktemp("orthanc"), AuthenticationEnabled=True, RegisteredUsers=USERS) as url:
        yield url


@pytest.fixture(scope="module")
def filled(orthanc, tmp_path_factory: pytest.TempPathFactory):
    """The archive with one series of each kind: their files by kind."""
    from archive_maker import make_each_kind, push

    made = make_each_kind(tmp_path_factory.mktemp("made"))
    for files in made.values():
        push(orthanc, files)
    return made


@pytest.fixture
def proxy(orthanc):
    from troubled_proxy import running_proxy

    with running_proxy(orthanc) as running:
        yield running


@pytest.fixture(autouse=True)
def _own_temporary_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A router says where temporary files go; the next test has its own place."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the objects of one result, named in the order in which they are stored."""
    from result_maker import classify, make_study

    from covid_bert.pacs.classifying import write_results
    from covid_bert.progress import Progress

    class System:
        def classify(self, volume, **_):
            return classify(volume)

    folder = tmp_path_factory.mktemp("template")
    write_results(lambda _: System(), "cpu", make_study(folder / "study"), Progress(), folder / "results")
    return folder / "results"
