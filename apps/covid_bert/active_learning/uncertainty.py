"""How unsure the networks are of a study, and of which study of many they are the least sure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from covid_bert.errors import ParameterError

FloatArray = npt.NDArray[np.float64]


def entropy(scores: npt.ArrayLike) -> FloatArray:
    """Entropy of class scores, as a share of the largest possible one.

    Shannon, Bell Syst Tech J 27:379-423, 1948; for choosing what to label: Settles, Active Learning Literature Survey,
    2009, section 3.1.

    Parameters
    ----------
    scores
        (..., classes): not negative, sums to one over at least two classes.

    Returns
    -------
    float array
        (...): 0 for a single class, 1 where all are equally likely.

    Raises
    ------
    ParameterError
        If the scores are not shares of at least two classes.
    """
    shares = _shares(scores)
    logarithms = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    # The difference from zero rather than a minus sign, which would make -0.0 of certainty.
    return np.asarray(np.clip(0.0 - (shares * logarithms).sum(axis=-1) / np.log(shares.shape[-1]), 0.0, 1.0))


def disagreement(stages: npt.ArrayLike) -> FloatArray:
    """How far the stages of a system are from each other: generalised Jensen-Shannon divergence of their scores.

    Query by committee (Seung, Opper and Sompolinsky, COLT 1992) with the stages as the committee; the mean
    Kullback-Leibler divergence from the committee's mean (McCallum and Nigam, ICML 1998) is this divergence (Lin, IEEE
    Trans Inf Theory 37:145-151, 1991).

    Parameters
    ----------
    stages
        (stages, ..., classes): scores of each stage, as for `entropy`.

    Returns
    -------
    float array
        (...): 0 where all stages say the same. NaN where there is a single stage, which cannot disagree.
    """
    shares = _shares(stages)
    if len(shares) < 2:
        return np.full(shares.shape[1:-1], np.nan)
    return np.asarray(np.clip(entropy(shares.mean(axis=0)) - entropy(shares).mean(axis=0), 0.0, 1.0))


def ranks(values: npt.ArrayLike) -> FloatArray:
    """Place of each value among all, in [0, 1]: 1 is the largest; equal values share the middle of their places.

    Parameters
    ----------
    values
        (n); NaN where unknown.

    Returns
    -------
    float array
        (n): NaN where unknown; 0.5 for a single known value.
    """
    given = np.asarray(values, np.float64)
    known = ~np.isnan(given)
    placed = np.full(given.shape, np.nan)
    count = int(known.sum())
    placed[known] = (rankdata(given[known]) - 1) / (count - 1) if count > 1 else 0.5
    return placed


def combined(measures: npt.ArrayLike) -> FloatArray:
    """Mean place of each study over several measures of uncertainty (Borda's count).

    Measures of different kinds have no common scale; their order does not need one.

    Parameters
    ----------
    measures
        (measures, n): larger is less sure; NaN where unknown.

    Returns
    -------
    float array
        (n): in [0, 1]; over the known measures of a study, NaN where none is known.
    """
    placed = np.stack([ranks(measure) for measure in np.atleast_2d(np.asarray(measures, np.float64))])
    known = ~np.isnan(placed)
    counts = known.sum(axis=0)
    total = np.where(known, placed, 0.0).sum(axis=0)
    return np.divide(total, counts, out=np.full(counts.shape, np.nan), where=counts > 0)


def _shares(scores: npt.ArrayLike) -> FloatArray:
    shares = np.asarray(scores, np.float64)
    valid = shares.ndim >= 1 and shares.shape[-1] >= 2 and bool(np.all(np.isfinite(shares)) and np.all(shares >= 0))
    if not valid or not np.allclose(shares.sum(axis=-1), 1.0, atol=1e-3):
        raise ParameterError("These are no scores of classes.", "Give shares of at least two classes that sum to one.")
    return shares / shares.sum(axis=-1, keepdims=True)
