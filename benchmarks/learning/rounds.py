"""One simulated team: it labels batch after batch, the heads are fitted anew, and what they are worth is measured."""

from __future__ import annotations

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
# Labels at the beginning: cases that are known already.
START_POSITIVE, START_OTHER = 2, 8
BATCH = 5
COMPONENTS = 24
RIDGE = 1.0
_NEWTON_STEPS, _SMALL_STEP = 12, 1e-4
_SMALLEST_CLASS = 15


@dataclass(frozen=True)
class Situation:
    """What a team wants to find, and how rare it is.

    Parameters
    ----------
    kind
        Of the pool's kinds: the class to be learned.
    prevalence
        Its share in what can be labelled, reached by leaving some of it out.
    plain
        The kind that nearly all others are of; what is neither is hard to tell from the class.
    hard
        Share of those in what can be labelled, reached in the same way; None leaves them as they are.
    held_out
        Share of the groups that are measured on and never labelled.
    """

    kind: str
    prevalence: float
    plain: str
    hard: float | None
    held_out: float


@dataclass(frozen=True, eq=False)
class Dealt:
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
        Items that are labelled at the beginning.
    """

    pool: tuple[FloatArray, ...]
    test: tuple[FloatArray, ...]
    embeddings: FloatArray
    pool_positive: npt.NDArray[np.bool_]
    test_positive: npt.NDArray[np.bool_]
    start: list[int]


def deal(pool: LabelPool, situation: Situation, seed: int) -> Dealt:
    """Deal the items out to what can be labelled and what is measured on, which have no group in common.

    What is left out to make the class rare is measured on too.

    Parameters
    ----------
    pool
        All items.
    situation
        What is looked for.
    seed
        Of the dealing.
    """
    generator = np.random.default_rng([seed, 1])
    positive, plain = pool.kinds == situation.kind, pool.kinds == situation.plain
    groups = np.unique(pool.groups)
    while True:
        held = np.isin(pool.groups, generator.permutation(groups)[: round(situation.held_out * len(groups))])
        free = generator.permutation(np.flatnonzero(~held))
        normal, hard = free[plain[free]], free[~plain[free] & ~positive[free]]
        if situation.hard is not None:
            hard = hard[: round(len(normal) * situation.hard / (1 - situation.hard - situation.prevalence))]
        others = np.concatenate([normal, hard])
        wanted = round(len(others) * situation.prevalence / (1 - situation.prevalence))
        candidates = np.sort(np.concatenate([others, free[positive[free]][:wanted]]))
        test = np.flatnonzero(~np.isin(pool.groups, pool.groups[candidates]))
        if min(positive[test].sum(), (~positive[test]).sum()) >= _SMALLEST_CLASS:
            break
    # All that is done with unlabelled items may be done with those that can be labelled, and with no others.
    parts = [_principal(stage[candidates], stage[test]) for stage in pool.stages]
    start = [
        int(item)
        for value, count in ((True, START_POSITIVE), (False, START_OTHER))
        for item in generator.permutation(np.flatnonzero(positive[candidates] == value))[:count]
    ]
    return Dealt(
        tuple(part[0] for part in parts),
        tuple(part[1] for part in parts),
        standardised(pool.stages[0][candidates]),
        positive[candidates],
        positive[test],
        start,
    )


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
        largest = float(np.abs(step).max())
        coefficients = coefficients - step * min(1.0, 5.0 / max(largest, 1e-12))
        if largest < _SMALL_STEP:
            break
    return coefficients


def sigmoid(values: FloatArray) -> FloatArray:
    """Logistic function."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values, -30, 30))))


def full(dealt: Dealt) -> float:
    """AUC on the test with all labels."""
    return _worth(dealt, list(range(len(dealt.pool_positive))))[0]


def curve(dealt: Dealt, strategy: str, seed: int, *, labels: int) -> FloatArray:
    """AUC on the test after each round.

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

    Returns
    -------
    float array
        (rounds, 3): labels, AUC, and how many of the labels are of the class that is looked for.
    """
    generator = np.random.default_rng([seed, 2])
    labelled, found = list(dealt.start), []
    while True:
        worth, heads = _worth(dealt, labelled)
        found.append((len(labelled), worth, dealt.pool_positive[labelled].sum()))
        if len(labelled) + BATCH > min(labels, len(dealt.pool_positive)):
            return np.array(found, np.float64)
        stages = np.stack([sigmoid(stage @ head) for stage, head in zip(dealt.pool, heads, strict=True)])
        shares = np.stack([stages, 1 - stages], axis=-1)
        unsure = np.stack([entropy(shares.mean(axis=0)), disagreement(shares)])
        # Scores are those of the last training for the whole batch; what is handed out counts as covered at once.
        for _ in range(BATCH):
            free = np.setdiff1d(np.arange(len(dealt.pool_positive)), labelled)
            if strategy == "random":
                labelled.append(int(generator.choice(free)))
                continue
            known = Measured(unsure[:, free], dealt.embeddings[free], dealt.embeddings[labelled])
            labelled.append(int(free[np.argmax(values_of(strategy, known))]))


def _worth(dealt: Dealt, labelled: list[int]) -> tuple[float, list[FloatArray]]:
    heads = [fitted(stage[labelled], dealt.pool_positive[labelled]) for stage in dealt.pool]
    scores = np.mean([sigmoid(stage @ head) for stage, head in zip(dealt.test, heads, strict=True)], axis=0)
    return auc(scores, dealt.test_positive), heads
