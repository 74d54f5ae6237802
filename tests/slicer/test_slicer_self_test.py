"""The extension's own self test, here on 3D Slicer's libraries and the stand-in for its window, with a real server."""

from __future__ import annotations

import importlib.util
import unittest
from types import SimpleNamespace
from typing import Any

import pytest
import slicer
from live_server import Live, live_server
from panel_tools import python_slicer  # noqa: F401 - a fixture

from needed import REPOSITORY

EXTENSION = REPOSITORY / "slicer_extension" / "CovidBert"
SAMPLE = REPOSITORY / "sample-data" / "lung1_image.nrrd"


@pytest.fixture
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Live:
    return live_server(request, tmp_path_factory)


def self_test() -> unittest.TestSuite:
    """The test that ctest runs in Slicer."""
    spec = importlib.util.spec_from_file_location(
        "CovidBertTestFile", EXTENSION / "Testing" / "Python" / "CovidBertTest.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return unittest.TestLoader().loadTestsFromModule(module)


@pytest.mark.usefixtures("python_slicer")
@pytest.mark.server
@pytest.mark.slow
def test_whole_path(module_widget: Any, live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "COVID_BERT_TEST_URL": live.url,
        "COVID_BERT_TEST_TOKEN": live.secrets["annotator"],
        "COVID_BERT_TEST_FILE": str(SAMPLE),
        "COVID_BERT_TEST_MODEL": "covid_baseline",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    result = unittest.TextTestRunner().run(self_test())
    assert result.testsRun == 1
    assert not result.errors + result.failures + result.skipped
    panel = module_widget.panel
    assert not panel.consent.given(live.url), "the user's own settings stay as they were"


def test_without_a_server_it_is_skipped(module_widget: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COVID_BERT_TEST_URL", raising=False)
    result = unittest.TextTestRunner().run(self_test())
    assert len(result.skipped) == 1


def test_sample_data_is_registered_with_its_checksum(module_widget: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib
    import sys

    from CovidBertLib import sample_data

    sample_data.register_sample_data()
    offered: list[dict[str, Any]] = []
    logic = SimpleNamespace(registerCustomSampleDataSource=lambda **source: offered.append(source))
    monkeypatch.setitem(sys.modules, "SampleData", SimpleNamespace(SampleDataLogic=logic))
    monkeypatch.setattr(slicer.modules, "sampledata", object(), raising=False)
    sample_data.register_sample_data()
    assert [source["fileNames"] for source in offered] == ["lung1_image.nrrd"]
    assert offered[0]["checksums"] == f"SHA256:{hashlib.sha256(SAMPLE.read_bytes()).hexdigest()}"
    assert offered[0]["uris"].startswith("https://")
