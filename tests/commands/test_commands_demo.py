"""What the demonstration asks of a server and writes, with the app in this process in the server's place."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from rich.table import Table

from covid_bert import DEMONSTRATION_MODEL
from covid_bert.commands import demo
from covid_bert.phantom import write
from needed import require_module

pytestmark = pytest.mark.usefixtures("small_networks")


@pytest.fixture
def asked(tmp_path, phantom, monkeypatch):
    """Runs the demonstration on a synthetic study; returns the folder of results, the table and the terminal."""
    client_module = require_module("monailabel.client", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")
    from covid_bert.main import CovidBertApp

    studies, results = tmp_path / "studies", tmp_path / "results"
    studies.mkdir()
    results.mkdir()
    sample = demo.SampleStudy("chest", write(phantom, studies / "chest.nii.gz"), "a phantom")
    app = CovidBertApp(app_dir=str(Path(__file__).parent), studies=str(studies), conf={})

    class InProcess:
        def __init__(self, *_, **__) -> None:
            pass

        def info(self) -> dict:
            return app.info()

        def infer(self, model: str, image_id: str, params: dict) -> tuple[str, dict]:
            reply = app.infer({"model": model, "image": image_id, **params})
            return reply["file"], reply["params"]

    monkeypatch.setattr(client_module, "MONAILabelClient", InProcess)
    monkeypatch.setattr(demo, "SYSTEMS", {"baseline": demo.SYSTEMS["baseline"]})

    def ask() -> tuple[Path, Table, str]:
        console, table = Console(record=True, width=200), Table()
        demo._ask("in process", [sample], results, table, console)
        return results, table, console.export_text()

    return ask


def test_demo_shows_lesions_where_there_are_weights(asked, lesions_by_density) -> None:
    results, table, shown = asked()
    labels = np.asarray(nibabel.load(results / "chest.lesions.nii.gz").dataobj)
    assert set(np.unique(labels)) == {0, 1, 2}
    result = json.loads((results / "chest.baseline.json").read_text())
    assert f"lesions: {result['lesions']['total_ml']:.0f} ml" in shown
    assert DEMONSTRATION_MODEL in table.caption
    assert Image.open(results / "chest.baseline.png").size[0] > 1000


def test_demo_says_why_there_are_no_lesions(asked) -> None:
    results, table, shown = asked()
    assert "lesions: Lesions were not segmented" in shown
    assert not (results / "chest.lesions.nii.gz").exists()
    assert table.caption is None
    assert (results / "chest.baseline.png").exists()
