"""How far a study is from what has been labelled, in the embedding space of the networks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from covid_bert.errors import ParameterError

FloatArray = npt.NDArray[np.float64]
# Bytes of distances that are held at a time.
_BLOCK_BYTES = 32 * 2**20
# Studies that stand for all in `coverage`, so that a folder of many thousands takes no longer than it must.
_MOST_PLACES = 1000


def standardised(embeddings: npt.ArrayLike) -> FloatArray:
    """Bring all channels to mean 0 and standard deviation 1 over the known studies; a constant channel becomes 0.

    Parameters
    ----------
    embeddings
        (n, channels); a row of NaN where unknown.

    Raises
    ------
    ParameterError
        If it is no table.
    """
    given = np.asarray(embeddings, np.float64)
    if given.ndim != 2:
        raise ParameterError("Embeddings are a table.", "Give one row for each study.")
    known = given[~np.isnan(given).any(axis=1)]
    if not len(known):
        return given.copy()
    spread = known.std(axis=0)
    return np.asarray((given - known.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def distances(embeddings: npt.ArrayLike, covered: npt.ArrayLike) -> FloatArray:
    """Distance of each study from the nearest one that is covered.

    The study with the largest distance is the next one of the greedy solution of the k-centre problem (Gonzalez, Theor
    Comput Sci 38:293-306, 1985), which active learning knows as core-set selection (Sener and Savarese, ICLR 2018).

    Parameters
    ----------
    embeddings
        (n, channels); a row of NaN where unknown.
    covered
        (m, channels): of studies that are labelled or being labelled; rows with NaN are left out.

    Returns
    -------
    float array
        (n): NaN where unknown. Where nothing is covered, minus the distance from the mean of all: the first study is
        a typical one.

    Raises
    ------
    ParameterError
        If the numbers of channels differ.
    """
    given, held = np.asarray(embeddings, np.float64), np.asarray(covered, np.float64)
    if given.ndim != 2 or (held.size and held.shape[1:] != given.shape[1:]):
        raise ParameterError("The embeddings are of different networks.", "Score the studies again.")
    known = ~np.isnan(given).any(axis=1)
    found = np.full(len(given), np.nan)
    held = held[~np.isnan(held).any(axis=1)] if held.size else given[:0]
    if not known.any():
        return found
    if not len(held):
        found[known] = -np.linalg.norm(given[known] - given[known].mean(axis=0), axis=1)
        return found
    rows = np.flatnonzero(known)
    block = max(1, _BLOCK_BYTES // (8 * len(held)))
    held_squares = (held**2).sum(axis=1)
    for start in range(0, len(rows), block):
        some = rows[start : start + block]
        squares = (given[some] ** 2).sum(axis=1)[:, None] + held_squares - 2.0 * given[some] @ held.T
        found[some] = np.sqrt(np.maximum(squares.min(axis=1), 0.0))
    return found


def coverage(embeddings: npt.ArrayLike, covered: npt.ArrayLike) -> FloatArray:
    """How much nearer to a covered study all would be on average, if this one were covered too.

    The study with the largest value is the next one of the greedy solution of the k-median problem, or of facility
    location (Nemhauser, Wolsey and Fisher, Math Program 14:265-294, 1978; for choosing what to label: Wei, Iyer and
    Bilmes, ICML 2015). Other than the farthest one, it is never an odd study that stands for itself alone.

    Parameters
    ----------
    embeddings, covered
        See `distances`.

    Returns
    -------
    float array
        (n): not negative; NaN where unknown. Where nothing is covered, all are taken to be farther away than any two
        studies are from each other: the first study is a typical one.

    Raises
    ------
    ParameterError
        If the numbers of channels differ.
    """
    given = np.asarray(embeddings, np.float64)
    nearest = distances(given, covered)
    found = np.full(len(given), np.nan)
    rows = np.flatnonzero(~np.isnan(nearest))
    if not len(rows):
        return found
    # Evenly spread over the order that they come in.
    places = rows[np.linspace(0, len(rows) - 1, min(len(rows), _MOST_PLACES)).round().astype(np.intp)]
    place_squares, row_squares = (given[places] ** 2).sum(axis=1), (given[rows] ** 2).sum(axis=1)
    now = nearest[places]
    if (now < 0).any():
        centre = given[rows].mean(axis=0)
        now = np.full(len(places), 2 * float(np.linalg.norm(given[rows] - centre, axis=1).max()))
    block = max(1, _BLOCK_BYTES // (8 * len(places)))
    for start in range(0, len(rows), block):
        some = rows[start : start + block]
        squares = row_squares[start : start + block, None] + place_squares - 2.0 * given[some] @ given[places].T
        found[some] = np.maximum(now - np.sqrt(np.maximum(squares, 0.0)), 0.0).mean(axis=1)
    return found
