"""Training and versions in the panel, with a real server: what the gate stopped is published, and taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from live_server import Live, live_server
from panel_tools import find_panel, python_slicer  # noqa: F401 - a fixture

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.usefixtures("python_slicer")]
SECONDS = 600


@pytest.fixture
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Live:
    return live_server(request, tmp_path_factory)


def add_candidate(home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Install the live lung network once more, as a version that never met the gate; return its name."""
    from safetensors.torch import load_file

    from covid_bert.weights.installing import add_version
    from covid_bert.weights.manifest import Provenance
    from covid_bert.weights.store import live as live_weights

    monkeypatch.setenv("COVID_BERT_HOME", str(home))
    shipped = live_weights("default-lungs")
    assert shipped is not None
    facts = {name: getattr(shipped.manifest, name) for name in Provenance.model_fields}
    version = add_version("default-lungs", load_file(shipped.path), Provenance(**facts)).version
    monkeypatch.delenv("COVID_BERT_HOME")
    return version


def states(train: Any) -> dict[str, str]:
    table = train.ui.versionsTable
    return {table.item(row, 0).text(): table.item(row, 1).text() for row in range(table.rowCount)}


def test_publish_roll_back_and_too_few_labels(
    live: Live, module_widget: Any, press: Any, wait_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = add_candidate(live.home, monkeypatch)
    panel = find_panel(module_widget)
    form, train = panel.section("Connect").ui, panel.section("Train")
    form.addressEdit.text = live.url
    form.addressEdit.editingFinished.emit()
    form.tokenEdit.text = live.secrets["admin"]
    press(form.testButton)
    wait_until(lambda: form.testButton.text == "Test connection" and panel.server is not None, SECONDS)
    train.opener.collapsed = False
    press(train.ui.refreshButton)
    wait_until(lambda: candidate in states(train), SECONDS)
    assert [train.ui.modelSelector.itemData(place) for place in range(train.ui.modelSelector.count)] == [
        "lungs", "covid_s1", "covid_s2", "covid_baseline",
    ]  # fmt: skip
    before = next(name for name, state in states(train).items() if state == "live")
    assert states(train)[candidate] == "candidate"

    table = train.ui.versionsTable
    table.selectRow(next(row for row in range(table.rowCount) if table.item(row, 0).text() == candidate))
    press(train.ui.publishButton)
    press(panel.ui.yesButton)
    wait_until(lambda: states(train).get(candidate) == "live", SECONDS)
    press(train.ui.rollBackButton)
    press(panel.ui.yesButton)
    wait_until(lambda: states(train).get(before) == "live", SECONDS)
    assert states(train)[candidate] == "was live"

    press(train.ui.startButton)
    press(panel.ui.yesButton)
    wait_until(lambda: "failed" in train.ui.stateLabel.text, SECONDS)
    # The one patient was drawn for learning, or for judging.
    assert "corrected lung mask to learn from" in train.ui.stateLabel.text
