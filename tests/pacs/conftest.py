from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Makers of DICOM series and of volumes.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "volumes"))


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
