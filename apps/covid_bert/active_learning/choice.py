"""What each study is worth to a strategy; the one of the largest worth is handed out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from covid_bert.active_learning.diversity import coverage, distances, standardised
from covid_bert.active_learning.scores import StudyScores
from covid_bert.active_learning.uncertainty import combined, ranks
from covid_bert.errors import ParameterError

FloatArray = npt.NDArray[np.float64]
SCORED_STRATEGIES = ("uncertainty", "diversity", "mixed")


@dataclass(frozen=True, eq=False)
class Measured:
    """What is known of the studies that may be handed out.

    Parameters
    ----------
    uncertainty
        (measures, n): larger is less sure; NaN where unknown.
    embeddings
        (n, channels): a row of NaN where unknown.
    covered
        (m, channels): of studies that are labelled, or handed out to be.
    """

    uncertainty: FloatArray
    embeddings: FloatArray
    covered: FloatArray


def measured(
    candidates: Sequence[str], covered: Sequence[str], scores: dict[str, StudyScores], *, masks: bool
) -> Measured:
    """Put together what is known of some studies.

    Parameters
    ----------
    candidates, covered
        Studies that may be handed out, and those that are labelled or handed out.
    scores
        Of all studies that have any.
    masks
        Whether lung masks are drawn too: their uncertainty then counts as much as the classes'.
    """
    known = [scores.get(identifier) for identifier in candidates]
    classes = combined(
        [
            [np.nan if item is None else item.entropy for item in known],
            [np.nan if item is None or item.disagreement is None else item.disagreement for item in known],
        ]
    )
    borders = np.array([np.nan if item is None or item.mask is None else item.mask for item in known])
    held = [scores[identifier] for identifier in covered if identifier in scores]
    channels = next((len(item.embedding) for item in scores.values()), 1)
    unknown = np.full(channels, np.nan)
    table = standardised(
        np.array(
            [*(unknown if item is None else item.embedding for item in known), *(item.embedding for item in held)]
        ).reshape(len(known) + len(held), channels)
    )
    return Measured(np.stack([classes, borders] if masks else [classes]), table[: len(known)], table[len(known) :])


def values_of(strategy: str, known: Measured) -> FloatArray:
    """Worth of each study.

    Parameters
    ----------
    strategy
        One of `SCORED_STRATEGIES`. ``uncertainty``: the mean place over all measures. ``diversity``: the distance from
        the nearest covered study. ``mixed``: the mean of the places by uncertainty and by `coverage`.
    known
        Of n studies.

    Returns
    -------
    float array
        (n): NaN where too little is known of a study.

    Raises
    ------
    ParameterError
        If there is no such strategy.
    """
    if strategy == "uncertainty":
        return combined(known.uncertainty)
    if strategy == "diversity":
        return distances(known.embeddings, known.covered)
    if strategy == "mixed":
        unsure, covering = ranks(combined(known.uncertainty)), ranks(coverage(known.embeddings, known.covered))
        return (unsure + covering) / 2
    raise ParameterError("There is no such strategy.", f"Choose one of {', '.join(SCORED_STRATEGIES)}.")


def best(values: FloatArray) -> int | None:
    """Index of the largest worth, the first of equal ones; None where none is known."""
    return None if np.isnan(values).all() else int(np.nanargmax(values))
