"""Temperature and operating point from out-of-fold scores, folds by person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.stats import mannwhitneyu

from covid_bert.training.studies import COVID

Scores = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
# Planted lesions are easier than real ones: on their account no score is made more extreme than the networks say.
LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 1.0, 20.0


@dataclass(frozen=True)
class OutOfFold:
    """What out-of-fold scores say of a system.

    Parameters
    ----------
    temperature
        Divides the logarithms of the scores; minimises the log loss within 1 ... 20.
    threshold
        On the calibrated probability of the finding: the middle of the range with the largest Youden index.
    log_loss, balanced_accuracy, auc
        With this temperature, at this threshold; the area under the ROC curve does not depend on either.
    studies
        Number of studies.
    """

    temperature: float
    threshold: float
    log_loss: float
    balanced_accuracy: float
    auc: float
    studies: int


def folds_by_person(sources: list[str], folds: int, seed: int) -> list[frozenset[str]]:
    """Deal persons out to folds, in an order drawn from the seed.

    Raises
    ------
    ValueError
        If there are fewer persons than folds, or fewer than two folds.
    """
    persons = sorted(set(sources))
    if not 2 <= folds <= len(persons):
        raise ValueError(f"{len(persons)} persons cannot be dealt out to {folds} folds.")
    order = np.random.default_rng([seed, 6]).permutation(len(persons))
    return [frozenset(persons[index] for index in order[fold::folds]) for fold in range(folds)]


def calibrated(scores: Scores, temperature: float) -> Scores:
    """Probability of the finding, (studies), from (studies, classes) scores; as the systems compute it."""
    logits = np.log(np.clip(scores, 1e-12, 1.0)) / temperature
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return (shares / shares.sum(1, keepdims=True))[:, COVID]


def assess(scores: Scores, labels: Labels) -> OutOfFold:
    """Fit temperature and operating point.

    Parameters
    ----------
    scores
        (studies, classes): final scores of studies that the networks were not trained on.
    labels
        (studies): index of the class.

    Raises
    ------
    ValueError
        If a class has no study.
    """
    positive = labels == COVID
    if positive.all() or not positive.any():
        raise ValueError("Out-of-fold scores need studies of both classes.")

    def loss(logarithm: float) -> float:
        return log_loss(calibrated(scores, float(np.exp(logarithm))), positive)

    bounds = (float(np.log(LOWEST_TEMPERATURE)), float(np.log(HIGHEST_TEMPERATURE)))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    # The search never quite reaches its bounds.
    best = min((bounds[0], float(found.x), bounds[1]), key=loss)
    temperature = float(np.exp(best))
    probability = calibrated(scores, temperature)
    threshold, accuracy = youden(probability, positive)
    rank = mannwhitneyu(probability[positive], probability[~positive]).statistic
    area = float(rank) / (np.count_nonzero(positive) * np.count_nonzero(~positive))
    return OutOfFold(temperature, threshold, loss(best), accuracy, area, len(labels))


def log_loss(probability: Scores, positive: npt.NDArray[np.bool_]) -> float:
    """Mean negative logarithm of the probability of what is true."""
    true = np.where(positive, probability, 1.0 - probability)
    return float(-np.log(np.clip(true, 1e-12, 1.0)).mean())


def youden(probability: Scores, positive: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Threshold with the largest Youden index, and the balanced accuracy there.

    The threshold is the middle between the two neighbouring probabilities; of several, that nearest to 0.5.
    """
    values = np.unique(probability)
    candidates = np.concatenate(([values[0] / 2], (values[1:] + values[:-1]) / 2, [(values[-1] + 1) / 2]))
    called = probability[None, :] >= candidates[:, None]
    accuracy = (called[:, positive].mean(1) + (~called[:, ~positive]).mean(1)) / 2
    best = np.flatnonzero(accuracy >= accuracy.max() - 1e-12)
    chosen = best[np.abs(candidates[best] - 0.5).argmin()]
    return float(candidates[chosen]), float(accuracy[chosen])
