"""Metrics: beside other implementations, and on cases that are worked out by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from monai.metrics import compute_average_surface_distance

from covid_bert.errors import ParameterError
from covid_bert.evaluation.metrics import (
    auc,
    dice,
    grouped_auc,
    mean_surface_distance,
    pointing_game,
    sensitivity_specificity,
    share_inside,
)
from needed import require_module

SPACING = (5.0, 0.7, 0.9)


def block(first: int, last: int, shape=(12, 20, 18)) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[2:9, first:last, 4:12] = 2
    return mask


def blob(seed: int) -> np.ndarray:
    z, y, x = np.ogrid[:12, :20, :18]
    centre = np.random.default_rng(seed).uniform(6, 10, 3)
    return ((z - centre[0] / 1.5) / 3) ** 2 + ((y - centre[1]) / 5) ** 2 + ((x - centre[2]) / 4) ** 2 < 1


def test_dice_by_hand() -> None:
    # 6 of 10 rows shared: 2 * 6 / (10 + 8).
    assert dice(block(2, 12), block(6, 14)) == pytest.approx(2 * 6 / 18)
    assert dice(block(2, 12), block(2, 12) * 3) == 1.0
    assert dice(block(2, 6), block(8, 12)) == 0.0
    assert dice(block(0, 0), block(2, 6)) == 0.0
    assert dice(block(0, 0), block(0, 0)) is None


def test_share_inside_by_hand() -> None:
    assert share_inside(block(2, 12), block(6, 14)) == pytest.approx(0.6)
    assert share_inside(block(2, 4), block(6, 14)) == 0.0
    assert share_inside(block(0, 0), block(2, 6)) is None


@given(
    st.integers(2, 60).flatmap(
        lambda count: st.tuples(
            arrays.arrays(np.int64, count, elements=st.integers(0, 8)),
            arrays.arrays(bool, count, elements=st.booleans()),
        )
    )
)
@settings(deadline=None, max_examples=50)
def test_auc_is_that_of_scikit_learn_also_with_ties(pair) -> None:
    metrics = require_module("sklearn.metrics", "pip install scikit-learn")
    scores, labels = pair[0] / 8, pair[1]
    if labels.all() or not labels.any():
        assert np.isnan(auc(scores, labels))
    else:
        assert auc(scores, labels) == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)


def test_auc_refuses_what_has_no_order() -> None:
    with pytest.raises(ParameterError):
        auc([0.1, float("nan")], [True, False])
    with pytest.raises(ParameterError):
        auc([0.1, 0.2, 0.3], [True, False])


def test_auc_of_one_class_is_no_estimate() -> None:
    assert grouped_auc([0.1, 0.2], [True, True], ["a", "b"]) is None


@pytest.mark.parametrize("seed", range(4))
def test_surface_distance_is_that_of_monai(seed: int) -> None:
    first, second = blob(seed), blob(seed + 10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = compute_average_surface_distance(
            *(torch.from_numpy(mask)[None, None] for mask in (first, second)),
            include_background=True, symmetric=True, spacing=list(SPACING),
        )  # fmt: skip
    assert mean_surface_distance(first, second, SPACING) == pytest.approx(float(other), rel=1e-4)


def test_surface_distance_by_hand() -> None:
    # Plates of one slice, two slices apart: every surface voxel is 10 mm from the other plate.
    first, second = (np.zeros((8, 12, 12), bool) for _ in range(2))
    first[2], second[4] = True, True
    assert mean_surface_distance(first, second, SPACING) == pytest.approx(10.0)
    assert mean_surface_distance(first, first, SPACING) == 0.0
    assert mean_surface_distance(first, np.zeros_like(first), SPACING) is None


def test_sensitivity_and_specificity_by_hand() -> None:
    decided = [True, True, False, True, False, False, False]
    labels = [True, True, True, False, False, False, False]
    sensitivity, specificity = sensitivity_specificity(decided, labels)
    assert (sensitivity.value, sensitivity.count) == (2 / 3, 3)
    assert (specificity.value, specificity.count) == (3 / 4, 4)
    assert sensitivity_specificity([True], [True])[1] is None
    with pytest.raises(ParameterError):
        sensitivity_specificity([True], [True, False])


def test_pointing_game_shares_ties() -> None:
    lesions = np.zeros((4, 6, 6), np.uint8)
    lesions[1, 2:4, 2:4] = 1
    strength = np.zeros((4, 6, 6), np.uint8)
    assert pointing_game(strength, lesions) is None
    strength[1, 2, 2] = 200
    assert pointing_game(strength, lesions) == 1.0
    strength[3, 0, 0] = 200
    assert pointing_game(strength, lesions) == 0.5
    strength[3, 0, 0] = 201
    assert pointing_game(strength, lesions) == 0.0
    assert pointing_game(strength, np.zeros_like(lesions)) is None


@pytest.mark.parametrize(
    "metric", [dice, pointing_game, share_inside, lambda a, b: mean_surface_distance(a, b, SPACING)]
)
def test_masks_must_lie_on_one_grid(metric) -> None:
    with pytest.raises(ParameterError):
        metric(np.ones((3, 4, 5), bool), np.ones((3, 5, 4), bool))
