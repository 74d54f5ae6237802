"""The panel and a real server, pressed as a person would: connect, agree, classify, see; then the token is revoked."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from mrml_samples import add_volume
from panel_tools import REPOSITORY, find_panel

from needed import require_module

pytestmark = [pytest.mark.server, pytest.mark.slow]
SECONDS = 1800


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Any, str]]:
    """A server with one token: its address, its file of tokens, and the token."""
    require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")
    from covid_bert.server.access import Role
    from covid_bert.server.launch import running_server
    from covid_bert.server.tokens import TokenFile

    (tmp_path / "studies").mkdir()
    tokens = TokenFile(tmp_path / "tokens.json")
    secret = tokens.add("anna", Role.ANNOTATOR)
    monkeypatch.setenv("COVID_BERT_HOME", str(tmp_path / "home"))
    options = ["--tokens-file", str(tokens.path)]
    with running_server(tmp_path / "studies", tmp_path / "server.log", timeout=SECONDS, options=options) as url:
        yield url, tokens, secret


@pytest.fixture
def chest(scene: Any) -> Any:
    """A real CT with every second row and column, which is enough here."""
    content = (REPOSITORY / "sample-data" / "lung1_image.nrrd").read_bytes()
    _header, _, compressed = content.partition(b"\n\n")
    voxels = np.frombuffer(gzip.decompress(compressed), "<i2").reshape(48, 512, 512)[:, ::2, ::2]
    return add_volume(np.diag([-1.140625, -1.140625, 5.0, 1.0]), voxels.copy(), "Thorax")


def test_connect_classify_and_see(served, module_widget, chest, press, wait_until) -> None:
    url, tokens, secret = served
    panel = find_panel(module_widget)
    form, study = panel.section("Connect").ui, panel.section("Classify").ui

    def test_connection(token: str) -> None:
        form.addressEdit.text = url
        form.addressEdit.editingFinished.emit()
        form.tokenEdit.text = token
        press(form.testButton)
        wait_until(lambda: form.testButton.text == "Test connection", SECONDS)

    said = {}
    for name, token in (("none", ""), ("wrong", "not-a-token-of-the-server"), ("good", secret)):
        test_connection(token)
        said[name] = panel.ui.messageLabel.text
        assert panel.ui.hintLabel.text or name == "good"
    assert len(set(said.values())) == len(said)
    assert said["good"] == f"Connected to covid-bert {panel.offer['version']} as anna (reader, annotator)."
    models = [study.modelComboBox.itemData(index) for index in range(study.modelComboBox.count)]
    study.modelComboBox.setCurrentIndex(models.index("covid_s1"))
    study.volumeSelector.setCurrentNode(chest)
    press(study.classifyButton)
    press(panel.ui.yesButton)
    stages = set()

    def has_ended() -> bool:
        stages.add(study.stageLabel.text.partition(",")[0])
        return panel.jobs.all() == []

    wait_until(has_ended, SECONDS)
    assert panel.shown is not None, (panel.ui.messageLabel.text, panel.ui.hintLabel.text)
    assert panel.shown_result.study.slice_count == 48
    assert "Waiting for the server" in stages
    masks = [
        slicer.util.arrayFromSegmentBinaryLabelmap(panel.shown.lungs, identifier, chest)
        for identifier in panel.shown.lungs.GetSegmentation().GetSegmentIDs()
    ]
    assert all(mask.sum() > 10_000 for mask in masks)
    assert panel.shown.location is not None
    tokens.revoke("anna")
    press(study.classifyButton)
    wait_until(lambda: panel.jobs.all() == [], SECONDS)
    assert "token" in panel.ui.messageLabel.text
    assert panel.ui.requestLabel.isVisible()
    assert panel.server is None
    assert panel.shown is not None, "what was found is kept"
