"""Which slices of a result are worth showing."""

from __future__ import annotations

from covid_bert.systems.result import SliceEvidence, StudyResult

# Of one report.
MOST_SLICES = 6


def key_slices(result: StudyResult, count: int = MOST_SLICES) -> list[SliceEvidence]:
    """Return the slices that the result rests on most, apart from each other.

    They are taken by their share of the location map (of the score, or of the lesions), and among equals by their
    score. Neighbours show much the same: the slices lie at least a twelfth of the kept range apart.

    Parameters
    ----------
    result
        The result.
    count
        Most slices to return, at least 1.

    Returns
    -------
    list of SliceEvidence
        From the strongest on; fewer where nothing else lies in the map.
    """
    ranked = sorted(result.slice_evidence, key=lambda item: (-item.location_share, -(item.score or 0.0), item.index))
    apart = max(1, len(ranked) // 12)
    chosen: list[SliceEvidence] = []
    for item in ranked:
        if len(chosen) == count or (chosen and item.location_share <= 0):
            break
        if all(abs(item.index - other.index) >= apart for other in chosen):
            chosen.append(item)
    return chosen
