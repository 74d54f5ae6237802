"""Results of the server are read whole, or refused with a plain message."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from mrml_samples import result_document

from CovidBertLib.problems import ResultError
from CovidBertLib.result import parse, parse_json

NOT_SHOWN = {"windows", "segments"}
SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "result.schema.json"


def test_a_real_result_is_read() -> None:
    document = result_document()
    result = parse(document)

    assert result.predicted_class in result.class_scores
    assert result.class_scores == document["class_scores"]
    assert result.calibrated is not None
    assert result.calibrated.threshold == document["calibrated_probability"]["threshold"]
    assert [stage.name for stage in result.stages] == ["clips", "study"]
    assert [evidence.index for evidence in result.slices] == sorted(e["index"] for e in document["slice_evidence"])
    assert result.lungs.total_ml == document["lungs"]["total_ml"]
    assert result.lesions is not None
    assert result.lesions.count == document["lesions"]["count"]
    assert result.location is not None
    assert result.location.peak_ras_mm == tuple(document["location_map"]["peak_ras_mm"])
    assert {weights.demonstration for weights in result.weights} == {True}
    assert result.weights_state == "demonstration"
    assert "not for diagnosis" in result.research_use_only


def test_the_fixture_keeps_to_the_schema() -> None:
    validator = pytest.importorskip("jsonschema")
    validator.validate(result_document(), json.loads(SCHEMA.read_text(encoding="utf-8")))


def test_a_server_without_a_notice_does_not_take_it_away() -> None:
    document = result_document()
    document["research_use_only"] = " "
    assert "Research use only" in parse(document).research_use_only


def test_json_and_back() -> None:
    result = parse(result_document())
    text = result.to_json()

    assert text.isascii()
    assert "\n" not in text
    assert json.loads(text) == result_document()
    assert parse_json(text) == result


def test_what_may_be_null_may_be_null() -> None:
    document = result_document()
    for name in ("calibrated_probability", "stages_agree", "location_map", "lesions", "out_of_distribution_score"):
        document[name] = None
    for name in ("right_ml", "left_ml", "total_ml", "right_share_by_hu_class", "left_share_by_hu_class"):
        document["lungs"][name] = None
    document["slice_evidence"][0].update(position_mm=None, score=None, lesion_share=None)
    document["study"]["spacing_mm"] = None

    result = parse(document)

    assert result.calibrated is result.location is result.lesions is result.stages_agree is None
    assert result.lungs.right_ml is None
    assert result.slices[0].score is None


def test_fields_of_a_newer_server_are_kept() -> None:
    document = {**result_document(), "schema_version": "1.7", "new_field": {"a": 1}}
    assert json.loads(parse(document).to_json())["new_field"] == {"a": 1}


def test_changing_the_document_later_changes_nothing() -> None:
    document = result_document()
    result = parse(document)
    document["class_scores"].clear()
    assert result.class_scores
    assert json.loads(result.to_json())["class_scores"]


@pytest.mark.parametrize("garbage", [None, 7, "text", [], {}, {"schema_version": "1.1"}])
def test_garbage_is_refused(garbage: object) -> None:
    with pytest.raises(ResultError) as caught:
        parse(garbage)
    assert caught.value.message
    assert caught.value.hint


def test_another_version_is_said_to_be_one() -> None:
    with pytest.raises(ResultError) as caught:
        parse({**result_document(), "schema_version": "2.0"})
    assert caught.value.code == "version-mismatch"
    assert "2.0" in caught.value.message


@pytest.mark.parametrize("text", ["", "{", "null", '"x"', "[" * 100_000])
def test_broken_json_is_refused(text: str) -> None:
    with pytest.raises(ResultError):
        parse_json(text)


@pytest.mark.parametrize("field", sorted(result_document().keys() - NOT_SHOWN))
def test_a_missing_field_is_named(field: str) -> None:
    document = result_document()
    del document[field]
    with pytest.raises(ResultError) as caught:
        parse(document)
    assert field in caught.value.message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("class_scores", "covid"), "0.5"),
        (("class_scores", "covid"), float("nan")),
        (("class_scores", "covid"), 1.5),
        (("class_scores", "covid"), True),
        (("class_scores", "covid"), 10**400),
        (("class_scores",), {}),
        (("predicted_class",), "flu"),
        (("calibrated_probability", "probability"), -0.1),
        (("stages_agree",), "yes"),
        (("slice_evidence", 0, "index"), 1.0),
        (("slice_evidence", 0, "index"), 48),
        (("slice_evidence", 0, "index"), 5),
        (("slice_evidence", 0, "location_share"), None),
        (("lungs", "right_ml"), -1),
        (("lungs", "right_share_by_hu_class"), [1]),
        (("lesions", "count"), 1.5),
        (("lesions", "weights_state"), "good"),
        (("location_map", "peak_ras_mm"), [1, 2]),
        (("warnings",), [1]),
        (("warnings",), "text"),
        (("weights_state",), "perfect"),
        (("provenance", "weights"), {}),
        (("provenance", "seconds"), {"reading": "fast"}),
        (("study", "slices"), 0),
    ],
)
def test_a_wrong_value_is_refused(path: tuple[str | int, ...], value: object) -> None:
    document = copy.deepcopy(result_document())
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(ResultError, match="missing or not as expected"):
        parse(document)
