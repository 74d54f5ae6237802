"""The model card: it follows the measurement, and shows nothing that may not be passed on."""

from __future__ import annotations

import re
import shutil

import pytest

from covid_bert.errors import NotFoundError, OutputError, UnreadableFileError
from covid_bert.evaluation import model_card
from covid_bert.evaluation.card_text import FIGURES, render
from covid_bert.evaluation.default_model import MEASUREMENT_FILE, _changes
from covid_bert.evaluation.model_card import published, read_measurement, write_card
from covid_bert.evaluation.problems import failures, warnings_of
from covid_bert.evaluation.results import ClassificationRow, LungRow, SourceTest
from covid_bert.volumes import Unit
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


def card_with_tests(measurement, **p_values: float):
    tests = [
        SourceTest(features=f"{name}: some", studies=8, sources=["a", "b"], accuracy=0.9, chance=0.4, p_value=p_value)
        for name, p_value in p_values.items()
    ]
    return render(measurement.model_copy(update={"source_tests": tests}))


def test_card_says_whether_the_source_can_be_told(measured) -> None:
    measurement = measured[1]
    told = card_with_tests(measurement, images=0.01)
    assert "may then be, at least in part, differences between sources" in told
    assert "is expected" not in told
    assert "no proof of absence" in card_with_tests(measurement, images=0.4)
    # Lesions and scores differ between sources that differ in condition: that says nothing of scanners.
    by_lesions = card_with_tests(measurement, images=0.4, lesions=0.01)
    assert "is expected where sources differ in condition" in by_lesions
    assert "may then be" not in by_lesions
    assert "too few studies" in card_with_tests(measurement)


def test_card_says_what_the_numbers_rest_on(measured) -> None:
    card = " ".join(render(measured[1]).split())
    assert "These numbers are optimistic" in card
    assert re.search(r"medseg_case1: no image of this set was trained on, but densities", card)
    assert "lidc_0002: nodule screening; no pneumonia label; slices 88 to 98 show a hazy patch" in card
    assert "All pictures are of sources that training could use" in card
    assert "![lidc_0001, largest marked areas]" in card or "lidc_0001.errors.png" not in card


def test_card_speaks_of_scores_only_where_there_are_some(measured) -> None:
    assert "and score a chest CT" not in render(measured[1])
    assert "and score a chest CT" in render(classified(measured[1]))


def classified(measurement, **fields):
    """The measurement with a classification of its first study."""
    said = ClassificationRow(system="s2", configuration="small", score=0.5, **fields)
    first, *others = measurement.studies
    return measurement.model_copy(update={"studies": [first.model_copy(update={"classifications": [said]}), *others]})


def test_a_probability_stands_with_what_it_was_calibrated_on(measured) -> None:
    card = render(classified(measured[1], probability=0.7, threshold=0.5, calibrated_on="400 planted studies"))
    assert "- s2 (small): probabilities were calibrated on 400 planted studies" in card
    without = render(classified(measured[1], no_probability_because="This study is unlike the others."))
    assert "| This study is unlike the others. |" in without
    assert "probabilities were calibrated on" not in without


def test_failures_and_warnings_are_listed(measured) -> None:
    first = measured[1].studies[0]
    assert failures([first]) == []
    fallback = LungRow(method="morphological", default=True, warnings=["The weights are damaged."])
    lesions = first.lesions.model_copy(update={"warnings": ["The lesions are odd."]})
    row = first.model_copy(
        update={
            "lungs": [fallback],
            "lesions": lesions,
            "warnings": ["A slice is missing."],
            "failures": ["slices: no"],
        }
    )
    assert failures([row]) == ["P001: lungs by morphological in place of unet", "P001, slices: no"]
    assert failures([row.model_copy(update={"unit": Unit.GRAY8, "failures": []})]) == []
    measurement = measured[1].model_copy(update={"studies": [row], "warnings": ["Of the run."]})
    assert warnings_of(measurement) == [
        "Of the run.",
        "P001: A slice is missing.",
        "P001, lungs by morphological: The weights are damaged.",
        "P001, lesions: The lesions are odd.",
    ]
    card = render(measurement)
    for line in (*failures([row]), *warnings_of(measurement)):
        assert f"- {line}" in card


def test_a_missing_picture_leaves_the_old_card_whole(measured, tmp_path) -> None:
    output = shutil.copytree(measured[0], tmp_path / "out")
    docs = tmp_path / "docs"
    write_card(output, docs)
    before = {path: path.read_bytes() for path in docs.rglob("*") if path.is_file()}
    (output / "pictures" / "lidc_0002.png").unlink()
    with pytest.raises(OutputError):
        write_card(output, docs)
    assert {path: path.read_bytes() for path in docs.rglob("*") if path.is_file()} == before


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
    measurement = read_measurement(repository / "docs" / FIGURES / MEASUREMENT_FILE)
    assert measurement.studies
    assert (repository / "docs" / model_card.CARD_FILE).read_text() == render(measurement), (
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
