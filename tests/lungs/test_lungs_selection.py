"""Choice of open-lung slices, against vectors worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from covid_bert.errors import ParameterError
from covid_bert.lungs import LungMask, lung_area, lung_share, open_lung_range, open_lung_slices

# Of 12 slices, 4 to 7 reach 0.7 of the largest; 0.6: 3 to 8; 0.5 and 0.4: the same; 0.3: 2 to 9 (8 slices);
# 0.2: 1 to 10 (10 slices).
MOUNTAIN = np.array([0.05, 0.2, 0.3, 0.6, 0.9, 1.0, 1.0, 0.8, 0.6, 0.35, 0.25, 0.0])
# A dip in the middle, below every factor.
DIP = np.array([0.0, 0.8, 0.9, 1.0, 0.05, 0.05, 0.9, 1.0, 0.8, 0.7, 0.0])


def _span(indices: np.ndarray) -> tuple[int, int, int]:
    return int(indices[0]), int(indices[-1]), len(indices)


def test_corrected_stops_at_eight_slices() -> None:
    assert _span(open_lung_slices(MOUNTAIN, rule="corrected")) == (2, 9, 8)


def test_published_wants_last_minus_first_of_eight() -> None:
    assert _span(open_lung_slices(MOUNTAIN, rule="published")) == (1, 10, 10)


def test_published_test_rule_takes_the_first_two_hits() -> None:
    assert _span(open_lung_slices(MOUNTAIN, rule="published_test")) == (4, 7, 4)
    one_hit = np.array([0.1, 0.2, 1.0, 0.65, 0.1])
    assert _span(open_lung_slices(one_hit, rule="published_test")) == (2, 3, 2)


def test_two_stage_rule_wants_three_slices() -> None:
    areas = np.array([0.1, 0.9, 1.0, 0.45, 0.1])
    assert _span(open_lung_slices(areas, rule="published_two_stage")) == (1, 3, 3)


def test_paper_filters_where_the_code_keeps_the_range() -> None:
    assert open_lung_slices(DIP, rule="published_paper").tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert open_lung_slices(np.r_[DIP, 0.9], rule="published_paper").tolist() == [1, 2, 3, 6, 7, 8, 9, 11]
    assert _span(open_lung_slices(DIP, rule="published")) == (1, 9, 9)


def test_short_studies() -> None:
    five = np.array([0.0, 0.5, 1.0, 0.5, 0.0])
    assert _span(open_lung_slices(five, rule="corrected")) == (0, 4, 5)  # all of them
    assert _span(open_lung_slices(five, rule="published")) == (1, 3, 3)  # what 0.1 leaves
    assert _span(open_lung_slices(five, rule="published_paper")) == (0, 4, 5)  # the factor reaches 0


@pytest.mark.parametrize("rule", ["corrected", "published", "published_test", "published_two_stage", "published_paper"])
@pytest.mark.parametrize("slices", [1, 2, 7, 8, 9, 1200])
def test_any_number_of_slices(rule: str, slices: int) -> None:
    areas = np.sin(np.linspace(0.1, np.pi - 0.1, slices))
    indices = open_lung_slices(areas, rule=rule)
    assert 1 <= len(indices) <= slices
    assert (np.diff(indices) == 1).all()
    assert np.argmax(areas) in indices
    if slices == 1200:
        assert areas[indices].min() >= 0.7 * areas.max()


def test_no_lung_at_all_keeps_every_slice() -> None:
    assert _span(open_lung_slices(np.zeros(5), rule="published")) == (0, 4, 5)


def test_range_with_own_limits() -> None:
    assert open_lung_range(MOUNTAIN) == (2, 9)
    assert open_lung_range(MOUNTAIN, minimum_slices=4) == (4, 7)
    assert open_lung_range(MOUNTAIN, minimum_slices=1, start=1.0) == (5, 6)
    assert open_lung_range(MOUNTAIN, minimum_slices=12) == (0, 11)


def test_area_and_share_of_a_mask() -> None:
    array = np.zeros((3, 10, 20), np.uint8)
    array[1, :5, :4] = 1
    array[2, :5, :8] = 2
    lungs = LungMask(array, "given")
    assert lung_area(lungs).tolist() == [0, 20, 40]
    assert lung_area(lungs, (5.0, 0.5, 2.0)).tolist() == [0, 20, 40]
    assert lung_share(lungs).tolist() == [0, 0.1, 0.2]
    assert open_lung_slices(lungs, rule="published_test").tolist() == [1, 2]


@pytest.mark.parametrize("areas", [np.zeros(0), np.array([1.0, np.nan]), np.ones((2, 2))])
def test_impossible_areas(areas: np.ndarray) -> None:
    with pytest.raises(ParameterError):
        open_lung_slices(areas)


@pytest.mark.parametrize(("minimum", "start"), [(0, 0.7), (8, 0.0), (8, 1.1), (8, 0.75)])
def test_impossible_limits(minimum: int, start: float) -> None:
    with pytest.raises(ParameterError):
        open_lung_range(MOUNTAIN, minimum_slices=minimum, start=start)


def test_unknown_rule() -> None:
    with pytest.raises(ParameterError, match="'best'"):
        open_lung_slices(MOUNTAIN, rule="best")
