"""The simulation of `benchmarks/active_learning.py` on made problems, where it is known which strategy must win."""

from __future__ import annotations

import importlib
import types
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SEEDS = range(4)
USELESS_CHANNELS = 10


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("active_learning")


def made_pool(simulation: types.ModuleType, *, normal: int = 420, each: int = 60):
    """Most are far on the easy side; the rare class and what resembles it lie near each other."""
    generator = np.random.default_rng(0)
    kinds = np.repeat(["normal", "rare", "alike"], [normal, each, each])
    centres = {"normal": (0.0, -6.0), "rare": (1.6, 2.0), "alike": (-1.6, 2.0)}
    places = generator.normal(size=(len(kinds), 2 + USELESS_CHANNELS))
    places[:, :2] += np.array([centres[kind] for kind in kinds])
    stages = tuple((places + 0.2 * generator.normal(size=places.shape)).astype(np.float32) for _ in range(2))
    return simulation.LabelPool(stages, kinds, np.arange(len(kinds)))


def situation(simulation: types.ModuleType, **changes: object):
    facts = {"kind": "rare", "prevalence": 0.06, "plain": "normal", "hard": 0.06, "held_out": 0.3}
    return simulation.Situation(**{**facts, **changes})


def test_a_dealing_makes_the_class_rare_and_keeps_what_is_measured_apart(simulation) -> None:
    pool = made_pool(simulation)
    dealt = simulation.deal(pool, situation(simulation), 3)
    assert dealt.pool_positive.mean() == pytest.approx(0.06, abs=0.01)
    assert len(dealt.pool_positive) + len(dealt.test_positive) == len(pool.kinds)
    assert dealt.pool_positive[dealt.start].sum() == 2
    assert len(set(dealt.start)) == 10


def test_neighbours_are_never_on_both_sides(simulation) -> None:
    whole = made_pool(simulation)
    groups = np.arange(len(whole.kinds)) // 6
    pool = simulation.LabelPool(whole.stages, whole.kinds, groups)
    dealt = simulation.deal(pool, situation(simulation, hard=None), 0)
    # What could not be measured, because neighbours of it can be labelled, is in neither part.
    assert len(dealt.pool_positive) + len(dealt.test_positive) < len(pool.kinds)
    assert dealt.pool_positive.mean() == pytest.approx(0.06, abs=0.01)


def test_all_strategies_play_in_rounds_from_the_same_start(simulation) -> None:
    dealt = simulation.deal(made_pool(simulation), situation(simulation), 1)
    curves = {name: simulation.curve(dealt, name, 1, labels=30) for name in simulation.STRATEGIES}
    for rounds in curves.values():
        assert rounds[:, 0].tolist() == [10, 15, 20, 25, 30]
        assert rounds[0].tolist() == curves["random"][0].tolist()
        assert ((rounds[:, 1] >= 0) & (rounds[:, 1] <= 1)).all()
    assert (simulation.curve(dealt, "random", 1, labels=30) == curves["random"]).all()


def test_uncertainty_needs_far_fewer_labels_where_most_are_plainly_normal(simulation) -> None:
    pool, counts = made_pool(simulation), {"random": 0.0, "uncertainty": 0.0, "mixed": 0.0}
    for seed in SEEDS:
        dealt = simulation.deal(pool, situation(simulation), seed)
        target = 0.97 * simulation.full(dealt)
        for name in counts:
            counts[name] += min(simulation.needed(simulation.curve(dealt, name, seed, labels=120), target), 125)
    assert counts["uncertainty"] < 0.6 * counts["random"], counts
    assert counts["mixed"] < 0.75 * counts["random"], counts


def test_labels_needed_are_those_from_which_the_target_holds(simulation) -> None:
    rounds = np.array([[10, 0.5], [15, 0.9], [20, 0.6], [25, 0.8], [30, 0.9]])
    assert simulation.needed(rounds, 0.8) == 25
    assert simulation.needed(rounds, 0.95) == np.inf
