"""Uncertainty, distance and choice on pools whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from covid_bert.active_learning.choice import SCORED_STRATEGIES, Measured, best, measured, values_of
from covid_bert.active_learning.diversity import coverage, distances, standardised
from covid_bert.active_learning.scores import StudyScores
from covid_bert.active_learning.uncertainty import combined, disagreement, entropy, ranks
from covid_bert.errors import ParameterError
from covid_bert.segmentation import border_entropy


def scores_of(entropy_: float, *place: float, disagreement_: float | None = None, mask: float | None = None):
    return StudyScores(entropy_, disagreement_, mask, np.array(place, np.float32))


def test_entropy_is_a_share_of_the_largest_possible_one() -> None:
    assert entropy([[0.5, 0.5], [1.0, 0.0], [0.9, 0.1]]) == pytest.approx([1.0, 0.0, 0.4689956], abs=1e-6)
    assert entropy([1 / 3] * 3) == pytest.approx(1.0)
    assert not np.signbit(entropy([0.0, 1.0]))


def test_disagreement_is_none_where_stages_say_the_same_and_full_where_they_say_the_opposite() -> None:
    same, opposite = [[0.7, 0.3], [0.7, 0.3]], [[1.0, 0.0], [0.0, 1.0]]
    assert disagreement(same) == pytest.approx(0.0, abs=1e-9)
    assert disagreement(opposite) == pytest.approx(1.0)
    assert 0 < disagreement([[0.9, 0.1], [0.4, 0.6]]) < 1
    assert np.isnan(disagreement([[0.9, 0.1]]))
    # Unsure stages that agree do not disagree: that is what entropy is for.
    assert disagreement([[0.5, 0.5], [0.5, 0.5]]) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("scores", [[0.5, 0.6], [1.0], [-0.1, 1.1], [float("nan"), 1.0]])
def test_what_are_no_scores_is_refused(scores: list[float]) -> None:
    with pytest.raises(ParameterError):
        entropy(scores)


def test_places_share_ties_and_leave_out_what_is_unknown() -> None:
    assert ranks([3.0, 1.0, np.nan, 3.0]) == pytest.approx([0.75, 0.0, np.nan, 0.75], nan_ok=True)
    assert ranks([np.nan, 7.0]) == pytest.approx([np.nan, 0.5], nan_ok=True)
    both = combined([[0.1, 0.2, np.nan], [5.0, 1.0, np.nan]])
    assert both == pytest.approx([0.5, 0.5, np.nan], nan_ok=True)


def test_measures_count_by_order_not_by_scale() -> None:
    small, large = np.array([0.1, 0.3, 0.2]), np.array([1.0, 2.0, 3.0])
    assert combined([small, large]) == pytest.approx(combined([small * 1e6, large]))


def test_distance_is_from_the_nearest_covered_study() -> None:
    found = distances([[0, 0], [3, 4], [10, 0], [np.nan, 0]], [[0, 0], [10, 1], [np.nan, np.nan]])
    assert found == pytest.approx([0.0, 5.0, 1.0, np.nan], nan_ok=True)
    # Where nothing is covered, the most typical one comes first.
    assert best(distances([[0.0], [1.0], [9.0], [4.0]], np.empty((0, 1)))) == 3
    with pytest.raises(ParameterError):
        distances([[0.0, 1.0]], [[0.0]])


def test_farthest_points_cover_all_clusters_before_any_twice() -> None:
    generator = np.random.default_rng(0)
    clusters = np.repeat(np.arange(5), [50, 5, 5, 5, 5])
    points = np.eye(5)[clusters] * 20 + generator.normal(size=(70, 5))
    chosen = [0]
    for _ in range(4):
        chosen.append(int(np.argmax(distances(points, points[chosen]))))
    assert sorted(clusters[chosen]) == [0, 1, 2, 3, 4]


def test_coverage_is_how_much_nearer_all_come() -> None:
    # The one at 11 stands for itself alone; the one at 4 has a neighbour on each side.
    found = coverage([[3.0], [4.0], [5.0], [11.0], [np.nan]], [[0.0]])
    assert found == pytest.approx(
        [(3 + 3 + 3 + 3) / 4, (2 + 4 + 4 + 4) / 4, (1 + 3 + 5 + 5) / 4, 11 / 4, np.nan], nan_ok=True
    )
    # Where nothing is covered, the most typical one comes first; where all are, none is worth anything.
    assert best(coverage([[0.0], [1.0], [9.0], [2.0]], np.empty((0, 1)))) in {1, 3}
    assert coverage([[1.0], [2.0]], [[1.0], [2.0]]).tolist() == [0.0, 0.0]
    assert np.isnan(coverage([[np.nan]], [[0.0]])).all()


def test_an_odd_study_wins_by_distance_but_not_by_coverage() -> None:
    generator = np.random.default_rng(2)
    points = np.concatenate([generator.normal(size=(40, 3)), generator.normal(size=(8, 3)) + 8, [[30.0, 0.0, 0.0]]])
    assert best(distances(points, points[:3])) == 48
    assert 40 <= best(coverage(points, points[:3])) < 48


def test_neither_blocks_nor_many_studies_change_what_coverage_chooses(monkeypatch) -> None:
    generator = np.random.default_rng(3)
    points = np.concatenate([generator.normal(size=(300, 4)), generator.normal(size=(100, 4)) + 10])
    whole = coverage(points, points[:1])
    monkeypatch.setattr("covid_bert.active_learning.diversity._BLOCK_BYTES", 8 * 400 * 7)
    assert coverage(points, points[:1]) == pytest.approx(whole)
    monkeypatch.setattr("covid_bert.active_learning.diversity._MOST_PLACES", 50)
    thinned = coverage(points, points[:1])
    assert thinned != pytest.approx(whole)
    assert best(thinned) >= 300
    assert best(whole) >= 300


def test_blocks_of_distances_do_not_change_them(monkeypatch) -> None:
    generator = np.random.default_rng(1)
    points, covered = generator.normal(size=(50, 4)), generator.normal(size=(9, 4))
    whole = distances(points, covered)
    monkeypatch.setattr("covid_bert.active_learning.diversity._BLOCK_BYTES", 8 * 9 * 7)
    assert distances(points, covered) == pytest.approx(whole)


def test_a_constant_channel_does_not_count() -> None:
    assert standardised([[1.0, 5.0], [3.0, 5.0]]).tolist() == [[-1.0, 0.0], [1.0, 0.0]]


def test_each_strategy_takes_the_study_that_it_is_for() -> None:
    pool = {
        "sure-near": scores_of(0.1, 0.0),
        "unsure-near": scores_of(0.9, 0.5),
        "sure-far": scores_of(0.05, 9.0),
        "unsure-far": scores_of(0.8, 8.0),
        "labelled": scores_of(0.5, 0.0),
    }
    candidates = sorted(set(pool) - {"labelled"})
    known = measured(candidates, ["labelled", "unknown"], pool, masks=False)
    chosen = {strategy: candidates[best(values_of(strategy, known))] for strategy in SCORED_STRATEGIES}
    assert chosen == {"uncertainty": "unsure-near", "diversity": "sure-far", "mixed": "unsure-far"}
    with pytest.raises(ParameterError):
        values_of("oracle", known)


def test_masks_count_where_masks_are_drawn() -> None:
    pool = {"a": scores_of(0.9, 0.0, mask=0.1), "b": scores_of(0.5, 0.0, mask=0.2), "c": scores_of(0.6, 0.0, mask=0.8)}
    for masks, expected in ((False, "a"), (True, "c")):
        assert "abc"[best(values_of("uncertainty", measured(list("abc"), [], pool, masks=masks)))] == expected


def test_ties_go_to_the_first_and_unknown_studies_are_never_chosen() -> None:
    pool = {"b": scores_of(0.5, 1.0), "c": scores_of(0.5, 1.0)}
    known = measured(["a", "b", "c"], [], pool, masks=True)
    for strategy in SCORED_STRATEGIES:
        assert [best(values_of(strategy, known)) for _ in range(3)] == [1, 1, 1]
    nothing = measured(["a", "b"], [], {}, masks=True)
    assert isinstance(nothing, Measured)
    for strategy in SCORED_STRATEGIES:
        assert best(values_of(strategy, nothing)) is None


def test_a_missing_measure_leaves_the_others() -> None:
    pool = {
        "a": scores_of(0.9, 0.0, disagreement_=None),
        "b": scores_of(0.1, 0.0, disagreement_=0.1),
        "c": scores_of(0.5, 0.0, disagreement_=0.2, mask=0.3),
    }
    assert values_of("uncertainty", measured(list("abc"), [], pool, masks=True))[0] == pytest.approx(1.0)


def test_border_entropy_looks_at_borders_alone() -> None:
    labels = np.zeros((2, 8, 8), np.uint8)
    labels[:, 2:6, 2:6] = 1
    sure = np.stack([labels == 0, labels == 1]).astype(np.float32)
    assert border_entropy(sure, labels) == 0.0
    vague_inside = sure.copy()
    vague_inside[:, :, 3:5, 3:5] = 0.5
    assert border_entropy(vague_inside, labels) == 0.0
    vague = np.full_like(sure, 0.5)
    assert border_entropy(vague, labels) == pytest.approx(1.0)
    # Probabilities that a later step has scaled are scaled back.
    assert border_entropy(vague * 0.1, labels) == pytest.approx(1.0)
    assert border_entropy(sure, np.zeros_like(labels)) is None
