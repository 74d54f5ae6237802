"""Rows of measurements: what the result says, in percent and ml, and a dash for what it does not say."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from mrml_samples import result_document

from CovidBertLib.measurements import HU_CLASSES, Row, hu_class_name, rows, to_csv
from CovidBertLib.result import parse


def by_key(document: dict[str, Any]) -> dict[str, Row]:
    return {row.key: row for row in rows(parse(document))}


def test_rows_hold_the_values_of_the_result() -> None:
    document = result_document()
    lungs, lesions = document["lungs"], document["lesions"]
    found = by_key(document)

    volume = found["lung_ml"]
    assert (volume.right, volume.left, volume.total) == (lungs["right_ml"], lungs["left_ml"], lungs["total_ml"])
    for name in HU_CLASSES:
        row = found[f"lung_{name}_percent"]
        assert row.right == pytest.approx(100 * lungs["right_share_by_hu_class"][name])
        assert row.left == pytest.approx(100 * lungs["left_share_by_hu_class"][name])
        both = lungs["right_share_by_hu_class"][name] * lungs["right_ml"]
        both += lungs["left_share_by_hu_class"][name] * lungs["left_ml"]
        assert row.total == pytest.approx(100 * both / lungs["total_ml"])
    assert sum(found[f"lung_{name}_percent"].total for name in HU_CLASSES) == pytest.approx(100)
    assert found["ground_glass_ml"].right == lesions["right_ground_glass_ml"]
    assert found["consolidation_ml"].left == lesions["left_consolidation_ml"]
    assert found["lesion_ml"].right == lesions["right_ground_glass_ml"] + lesions["right_consolidation_ml"]
    assert found["lesion_ml"].total == lesions["total_ml"]
    assert found["lesion_ml"].right + found["lesion_ml"].left == pytest.approx(lesions["total_ml"])
    assert found["lesion_percent"].left == pytest.approx(100 * lesions["left_share"])
    assert found["lesion_count"].total == lesions["count"]
    assert found["lesion_lower_percent"].total == pytest.approx(100 * lesions["lower_share"])
    assert found["lesion_peripheral_percent"].total == pytest.approx(100 * lesions["peripheral_share"])


def test_texts_have_units_and_dashes() -> None:
    assert Row("a", "A", 1808.04, None, 0.0, "ml").texts() == ("1808 ml", "–", "0 ml")
    assert Row("a", "A", 17.846, 0.04, None, "%", 1).texts() == ("17.8 %", "0.0 %", "–")
    assert Row("a", "A", None, None, 10.0, "").texts() == ("–", "–", "10")


def test_nothing_is_made_up_where_the_result_says_nothing() -> None:
    document = result_document()
    document["lesions"] = None
    for name in ("right_ml", "left_ml", "total_ml"):
        document["lungs"][name] = None
    found = by_key(document)
    assert not any(key.startswith(("lesion", "ground", "consolidation")) for key in found)
    assert found["lung_ml"].texts() == ("–", "–", "–")
    row = found["lung_non_aerated_percent"]
    assert row.right is not None
    assert row.total is None  # shares of sides of unknown size make no share of both
    document["lungs"].update(right_share_by_hu_class=None, left_share_by_hu_class=None)
    assert list(by_key(document)) == ["lung_ml"]


def test_a_side_without_lung_counts_as_none_of_it() -> None:
    document = result_document()
    document["lungs"].update(left_ml=0.0, total_ml=document["lungs"]["right_ml"], left_share_by_hu_class=None)
    row = by_key(document)["lung_poorly_aerated_percent"]
    assert row.left is None
    assert row.total == pytest.approx(row.right)


def test_a_new_density_class_of_a_server_is_shown_by_its_key() -> None:
    document = result_document()
    document["lungs"]["right_share_by_hu_class"]["very_dense"] = 0.25
    row = by_key(document)["lung_very_dense_percent"]
    assert (row.name, row.right, row.left) == ("very_dense", 25.0, None)
    assert row.total is None  # the left lung's share is not known


def test_a_servers_words_are_no_formula_in_a_table_calculator() -> None:
    document = result_document()
    document["lungs"]["right_share_by_hu_class"]["=1+1"] = 0.25
    document["research_use_only"] = "@SUM(A1)"
    table = list(csv.DictReader(io.StringIO(to_csv(parse(document)))))
    assert "'=1+1" in {row["name"] for row in table}
    assert {row["notice"] for row in table} == {"'@SUM(A1)"}


def test_csv_keeps_all_digits() -> None:
    document = result_document()
    document["lungs"]["left_ml"] = None
    table = list(csv.DictReader(io.StringIO(to_csv(parse(document)))))
    assert table[0]["key"] == "lung_ml"
    assert float(table[0]["right"]) == document["lungs"]["right_ml"]
    assert table[0]["left"] == ""
    assert {row["unit"] for row in table} == {"ml", "%", ""}
    assert {row["notice"] for row in table} == {document["research_use_only"]}
    assert {row["weights_state"] for row in table} == {document["weights_state"]}
    assert {row["study"] for row in table} == {parse(document).study.identifier}
    assert [row["name"] for row in table if row["key"] == "lung_hyperaerated_percent"] == [
        hu_class_name("hyperaerated")
    ]
