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


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the objects of one result, named in the order in which they are stored."""
    from result_maker import classify, make_study

    from covid_bert.progress import Progress
    from covid_bert.router.classifying import write_results

    class System:
        def classify(self, volume, **_):
            return classify(volume)

    folder = tmp_path_factory.mktemp("template")
    write_results(lambda _: System(), "cpu", make_study(folder / "study"), Progress(), folder / "results")
    return folder / "results"
