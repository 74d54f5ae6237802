"""A new result: refused where it cannot be of the volume, alone in the views, and without numbers that mean nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import slicer
from fake_orders import connect, offer_of, replace_orders
from panel_tools import find_panel
from result_samples import add_chest, calibrated, untrained, write_masks

from CovidBertLib import scene as nodes
from CovidBertLib.batch_rows import DONE, BatchRow, to_csv
from CovidBertLib.card import card_of
from CovidBertLib.correction import correction_of, start_correction
from CovidBertLib.overlay import legend_of, overlay_shown, show_overlay
from CovidBertLib.problems import ResultError
from CovidBertLib.report import save
from CovidBertLib.result import parse


def test_a_result_of_another_number_of_slices_is_refused_also_without_files(scene: Any) -> None:
    document = calibrated()
    document["study"]["slices"] = 47
    volume = add_chest()
    before = scene.GetNumberOfNodes()
    with pytest.raises(ResultError, match="of 47 slices, the volume has 48") as caught:
        nodes.show(volume, parse(document), {})
    assert caught.value.hint == "Classify the volume again."
    assert scene.GetNumberOfNodes() == before


def is_visible(node: Any) -> bool:
    return bool(node.GetDisplayNode().GetVisibility())


def test_what_is_older_of_the_study_is_hidden_and_kept(scene: Any, tmp_path: Path) -> None:
    volume, other = add_chest("CT 1"), add_chest("CT 2")
    files = write_masks(tmp_path)
    beside = nodes.show(other, parse(calibrated()), files)
    older = nodes.show(volume, parse(calibrated()), files)
    corrected = start_correction(older.lungs, volume)
    show_overlay(volume, older.location)
    newer = nodes.show(volume, parse(calibrated()), files)
    assert [is_visible(node) for node in (newer.lungs, newer.lesions)] == [True, True]
    assert [is_visible(node) for node in (older.lungs, older.lesions, corrected)] == [False, False, False]
    assert not overlay_shown(older.location)
    assert correction_of(older.lungs) is corrected
    assert is_visible(beside.lungs), "another study is left as it is"
    assert len(nodes.find(volume)) == 2


def claiming(kind: str) -> dict[str, Any]:
    """A result that gives a probability of networks that are not trained, which no server should."""
    document = untrained()
    document["calibrated_probability"] = calibrated()["calibrated_probability"]
    if kind == "names":
        document.update(weights_state="trained")
        document["provenance"]["weights"][0]["trained"] = True
    elif kind == "weights":
        document.update(weights_state="trained", untrained_weights=[])
    return document


@pytest.mark.parametrize("kind", ["state", "names", "weights"])
def test_untrained_networks_give_no_probability_anywhere(scene: Any, tmp_path: Path, kind: str) -> None:
    document = claiming(kind)
    assert document["calibrated_probability"]["probability"] == 0.76
    result = parse(document)
    card = card_of(result)
    assert card.calibrated is None
    assert "76" not in card.heading + " ".join(card.calibration)
    assert "no probability is given" in " ".join(card.calibration).lower()
    row = BatchRow(1, "CT", state=DONE, result=result)
    assert (row.probability, row.caution) == (None, "UNTRAINED")
    assert "0.76" not in to_csv([row], "")
    volume = add_chest()
    shown = nodes.show(volume, result, write_masks(tmp_path))
    assert "robability" not in legend_of(shown.location).GetTitleText()
    assert "UNTRAINED" in legend_of(shown.location).GetTitleText()
    assert json.loads(shown.record.GetText())["calibrated_probability"] is None
    (tmp_path / "private").mkdir()
    for path in save(result, tmp_path, ["json", "csv"], [], tmp_path / "private"):
        assert "0.76" not in path.read_text("utf-8")


def test_panel_shows_no_probability_of_untrained_networks(
    module_widget: Any, monkeypatch: pytest.MonkeyPatch, press: Any
) -> None:
    panel = find_panel(module_widget)
    orders = replace_orders(module_widget, monkeypatch)
    connect(panel, offer_of())
    panel.set_volume(add_chest())
    press(panel.section("Classify").ui.classifyButton)
    orders.last.done({"result": claiming("state"), "files": {}, "params": {}, "session_id": "s", "sha256": "0"})
    form = panel.section("Result").ui
    assert form.headingLabel.text == "No result: the network is not trained"
    assert not form.probabilityLabel.isVisible()
    assert slicer.util.getNodesByClass("vtkMRMLTextNode")
