"""One simulated team: it labels item after item, the heads are fitted anew, and what they are worth is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from covid_bert.active_learning.choice import Measured, values_of
from covid_bert.active_learning.diversity import standardised
from covid_bert.active_learning.uncertainty import disagreement, entropy
from covid_bert.evaluation.metrics import auc
from learning.pools import LabelPool

FloatArray = npt.NDArray[np.float64]
STRATEGIES = ("random", "uncertainty", "diversity", "mixed")
START_EACH = 2
TEST_SHARE = 0.35
COMPONENTS = 24
RIDGE = 1.0
_NEWTON_STEPS = 12
_SMALLEST_CLASS = 8


@dataclass(frozen=True, eq=False)
class Split:
    """What can be labelled and what is measured on, as the heads read it.

    Parameters
    ----------
    pool, test
        (items, components) of each stage, with a column of ones.
    embeddings
        (items, channels): standardised, for distances.
    pool_positive, test_positive
        bool (items).
    start
        Items that are labelled at the beginning, two of each class.
    """

    pool: tuple[FloatArray, FloatArray]
    test: tuple[FloatArray, FloatArray]
    embeddings: FloatArray
    pool_positive: npt.NDArray[np.bool_]
    test_positive: npt.NDArray[np.bool_]
    start: list[int]


def split(pool: LabelPool, seed: int, *, prevalence: float | None = None) -> Split:
    """Deal the items out to the pool and the test.

    Parameters
    ----------
    pool
        All items.
    seed
        Of the dealing.
    prevalence
        Share of positive items in the pool, reached by leaving some of them out; None leaves it as it is.
    """
    generator = np.random.default_rng([seed, 1])
    held = _held_out(pool, generator)
    candidates, test = np.flatnonzero(~held), np.flatnonzero(held)
    if prevalence is not None:
        negative, positive = (candidates[pool.positive[candidates] == value] for value in (False, True))
        wanted = min(len(positive), round(len(negative) * prevalence / (1 - prevalence)))
        candidates = np.sort(np.concatenate([negative, generator.permutation(positive)[:wanted]]))
    # All that is done with unlabelled items may be done with the pool alone.
    parts = [_principal(stage[candidates], stage[test]) for stage in pool.stages]
    positive = pool.positive[candidates]
    start = [
        int(item)
        for value in (True, False)
        for item in generator.permutation(np.flatnonzero(positive == value))[:START_EACH]
    ]
    return Split(
        (parts[0][0], parts[1][0]),
        (parts[0][1], parts[1][1]),
        standardised(pool.stages[0][candidates]),
        positive,
        pool.positive[test],
        start,
    )


def _held_out(pool: LabelPool, generator: np.random.Generator) -> npt.NDArray[np.bool_]:
    if not pool.by_person:
        held = np.zeros(len(pool.positive), bool)
        held[generator.permutation(len(held))[: round(TEST_SHARE * len(held))]] = True
        return held
    persons = sorted(set(pool.persons))
    while True:
        chosen = [str(person) for person in generator.permutation(persons)[: round(TEST_SHARE * len(persons))]]
        held = np.isin(pool.persons, chosen)
        counts = [(pool.positive[part] == value).sum() for part in (held, ~held) for value in (True, False)]
        if min(counts) >= _SMALLEST_CLASS:
            return held


def _principal(pool: npt.NDArray[np.float32], test: npt.NDArray[np.float32]) -> tuple[FloatArray, FloatArray]:
    """Principal components of the pool, scaled alike, and a column of ones."""
    mean, spread = pool.mean(axis=0), pool.std(axis=0)
    scaled = [(part - mean) / np.where(spread > 0, spread, 1.0) for part in (pool, test)]
    directions = np.linalg.svd(scaled[0].astype(np.float64), full_matrices=False)[2][:COMPONENTS]
    first, second = (part @ directions.T for part in scaled)
    scale = first.std(axis=0).mean()
    return tuple(np.hstack([part / scale, np.ones((len(part), 1))]) for part in (first, second))  # type: ignore[return-value]


def fitted(features: FloatArray, positive: npt.NDArray[np.bool_]) -> FloatArray:
    """Coefficients of a ridge logistic regression, by Newton's method; the constant is not shrunk."""
    coefficients = np.zeros(features.shape[1])
    penalty = np.full(features.shape[1], RIDGE)
    penalty[-1] = 1e-3
    for _ in range(_NEWTON_STEPS):
        probability = sigmoid(features @ coefficients)
        gradient = features.T @ (probability - positive) + penalty * coefficients
        weight = np.maximum(probability * (1 - probability), 1e-6)
        step = np.linalg.solve((features * weight[:, None]).T @ features + np.diag(penalty), gradient)
        coefficients = coefficients - step * min(1.0, 5.0 / np.abs(step).max())
    return coefficients


def sigmoid(values: FloatArray) -> FloatArray:
    """Logistic function."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values, -30, 30))))


def curve(
    dealt: Split,
    strategy: str,
    seed: int,
    *,
    labels: int,
    value: Callable[[str, Measured], FloatArray] = values_of,
) -> FloatArray:
    """AUC on the test after each number of labels.

    Parameters
    ----------
    dealt
        Pool and test.
    strategy
        One of `STRATEGIES`.
    seed
        Of what is drawn.
    labels
        Until how many are labelled.
    value
        Worth of each item for a strategy; the largest is labelled next.

    Returns
    -------
    float array
        (labels + 1): NaN below the number of labels at the start.
    """
    generator = np.random.default_rng([seed, 2])
    labelled = list(dealt.start)
    found = np.full(labels + 1, np.nan)
    while True:
        heads = [fitted(stage[labelled], dealt.pool_positive[labelled]) for stage in dealt.pool]
        scores = np.mean([sigmoid(stage @ head) for stage, head in zip(dealt.test, heads, strict=True)], axis=0)
        found[len(labelled)] = auc(scores, dealt.test_positive)
        if len(labelled) == labels:
            return found
        free = np.setdiff1d(np.arange(len(dealt.pool_positive)), labelled)
        if strategy == "random":
            labelled.append(int(generator.choice(free)))
            continue
        stages = np.stack([sigmoid(stage[free] @ head) for stage, head in zip(dealt.pool, heads, strict=True)])
        shares = np.stack([stages, 1 - stages], axis=-1)
        measured = Measured(
            np.stack([entropy(shares.mean(axis=0)), disagreement(shares)]),
            dealt.embeddings[free],
            dealt.embeddings[labelled],
        )
        labelled.append(int(free[np.argmax(value(strategy, measured))]))
