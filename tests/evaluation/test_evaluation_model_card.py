"""The model card: it follows the measurement, and shows nothing that may not be passed on."""

from __future__ import annotations

import re

import pytest

from covid_bert.errors import NotFoundError, OutputError, UnreadableFileError
from covid_bert.evaluation import model_card
from covid_bert.evaluation.default_model import _changes
from covid_bert.evaluation.model_card import published, read_measurement, render, write_card
from covid_bert.evaluation.results import SourceTest
from covid_bert.weights.identity import WeightsIdentity


def with_target(measurement, key: str, **fields):
    targets = [item.model_copy(update=fields) if item.key == key else item for item in measurement.targets]
    return measurement.model_copy(update={"targets": targets})


def line_of(card: str, start: str) -> str:
    return next(line for line in card.splitlines() if line.startswith(f"| {start}"))


def test_card_says_what_is_reached_and_what_is_not(measured) -> None:
    measurement = measured[1]
    name = "Mean lesion Dice"
    assert line_of(render(with_target(measurement, "lesion_dice", value=0.8, reached=True)), name).endswith(
        "| reaches |"
    )
    missed = render(with_target(measurement, "lesion_dice", value=0.61, reached=False))
    assert line_of(missed, name).endswith("| 0.610 | does not reach |")
    unknown = render(with_target(measurement, "lesion_dice", value=None, reached=None))
    assert line_of(unknown, name).endswith("| – | not measured |")


def test_card_names_every_study_and_every_failure(measured) -> None:
    measurement = measured[1]
    card = render(measurement)
    for row in measurement.studies:
        assert row.name in card
    assert re.search(r"- cap001: .*cap001_ct\.nii\.gz", card)
    assert "zenodo20_2d" in card
    assert "Research use only" in card
    assert "nan" not in card
    assert "None" not in card


def test_card_speaks_of_demonstration_weights_only_where_there_are_some(measured) -> None:
    measurement = measured[1]
    assert "Demonstration model" not in render(measurement)
    weights = WeightsIdentity(
        name="default-lesions", version="v001", sha256="ab" * 32, trained=True, demonstration=True,
        trained_on="planted lesions | real lungs", licence="Apache-2.0", source="here",
    )  # fmt: skip
    card = render(measurement.model_copy(update={"weights": [weights]}))
    assert "Demonstration model" in card
    assert "| default-lesions | v001 | abababababab | yes | planted lesions \\| real lungs |" in card


def test_card_warns_of_weights_that_changed_during_the_run(measured) -> None:
    assert measured[1].warnings == []
    warned = measured[1].model_copy(update={"warnings": _changes({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"})})
    assert "**Weights changed while the studies were measured (b, c): measure again.**" in render(warned)


def test_card_says_whether_the_source_can_be_told(measured) -> None:
    test = SourceTest(features="noise", studies=8, sources=["a", "b"], accuracy=0.9, chance=0.4, p_value=0.01)
    measurement = measured[1].model_copy(update={"source_tests": [test]})
    assert "Better than chance it is told from: noise" in render(measurement)
    measurement = measured[1].model_copy(update={"source_tests": [test.model_copy(update={"p_value": 0.4})]})
    assert "no proof of absence" in render(measurement)
    assert "too few studies" in render(measured[1].model_copy(update={"source_tests": []}))


def test_only_what_may_be_redistributed_is_published(measured, tmp_path) -> None:
    output, measurement, _ = measured
    (tmp_path / "default-model").mkdir()
    (tmp_path / "default-model" / "old.png").write_bytes(b"")
    card = write_card(output, tmp_path)
    shown = {path.name for path in (tmp_path / "default-model").iterdir()}
    may = {name for row in measurement.studies if row.redistributable for name in row.pictures}
    assert may
    assert shown == {*may, "overview.png", "measurement.json"}
    for name in may:
        assert f"default-model/{name}" in card.read_text()
    kept = read_measurement(tmp_path / "default-model" / "measurement.json")
    assert kept == published(measurement)
    assert all(
        row.lesions is None or row.lesions.slices is None or not row.lesions.slices.labels for row in kept.studies
    )
    # The card that is written from what is published is the same one.
    assert render(kept) == card.read_text()


def test_the_card_in_the_documentation_is_that_of_its_measurement(repository) -> None:
    path = repository / "docs" / model_card.FIGURES / model_card.MEASUREMENT_FILE
    if not path.exists():
        pytest.skip("no measurement is kept in docs")
    assert (repository / "docs" / model_card.CARD_FILE).read_text() == render(read_measurement(path)), (
        "run: python -m covid_bert.evaluation.model_card OUT docs"
    )


def test_program_and_errors(measured, tmp_path, capsys) -> None:
    output = measured[0]
    assert model_card.main([str(output), str(tmp_path / "docs")]) == 0
    assert model_card.main([str(tmp_path), str(tmp_path / "docs")]) == 4
    assert "measurement.json" in capsys.readouterr().err
    assert model_card.main([]) == 2
    with pytest.raises(NotFoundError):
        read_measurement(tmp_path / "measurement.json")
    (tmp_path / "measurement.json").write_text('{"studies": 3}')
    with pytest.raises(UnreadableFileError):
        read_measurement(tmp_path / "measurement.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_card(output, tmp_path / "file")
