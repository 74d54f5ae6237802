"""Which slices form a clip: the published choices exactly, and the corrected ones beside them.

All functions work on positions 0 ... slices - 1 within the slices that were kept (the open-lung range), foot to head
or head to foot alike, and return clips as ascending integer arrays of `length` positions. The published ones equal
the authors' samplers for every number of slices, including those that shorter descriptions leave open (a study of 30
slices repeats slices 14 and 29, not 14 and 15).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]
CLIP_LENGTH = 32


def centre_out(slices: int, length: int = CLIP_LENGTH, phase: int = 0) -> Positions:
    """One clip, walked from the centre slice to both sides with a fixed step (``SymmetricalResampler``).

    Parameters
    ----------
    slices
        Number of slices, at least 1.
    length
        Slices of a clip.
    phase
        Displacement of the walk's start, used where there are more than `length` slices: 0 for validation,
        -(step - 1) ... 0 for the sets of `strided_sets`.

    Returns
    -------
    Positions
        (length,). With fewer slices than `length`, all of them, repeated as evenly as the walk allows.

    Notes
    -----
    The step is slices // length, so that up to half of the slices (32 of 63) are never seen.
    Source:
    the published code of S1 and S2, ``datasets/utils.py``.
    """
    _check(slices, length)
    if slices < length:
        whole, extra = divmod(length, slices)
        positions = np.repeat(np.arange(slices), whole)
        if extra:
            positions = np.concatenate((positions, _walk(slices, extra, slices // extra)))
        return np.sort(positions)
    if slices == length:
        return np.arange(slices)
    return np.sort(_walk(slices, length, slices // length) + phase)


def strided_sets(slices: int, length: int = CLIP_LENGTH) -> list[Positions]:
    """All clips of a study at test: one for each phase of the step, and one of contiguous slices at the centre.

    Source: the published code's ``SymmetricalSequentialResampler`` (S2 section 3.4 and 5.3.2).
    """
    _check(slices, length)
    step = max(slices // length, 1)
    sets = [centre_out(slices, length, phase - step + 1) for phase in range(step)]
    if slices > length:
        start = (slices - length) // 2
        sets.append(np.arange(start, start + length))
    return sets


def windows(slices: int, length: int = CLIP_LENGTH) -> list[Positions]:
    """Consecutive windows; the last one is the last `length` slices, whatever it shares with the one before.

    Parameters
    ----------
    slices, length
        As in `centre_out`; fewer slices than `length` give one clip by `centre_out`.

    Notes
    -----
    Source: S1, ``generate_embedding.py``.
    """
    _check(slices, length)
    if slices <= length:
        return [centre_out(slices, length)]
    starts = list(range(0, slices - length + 1, length))
    if starts[-1] != slices - length:
        starts.append(slices - length)
    return [np.arange(start, start + length) for start in starts]


def whole_range(slices: int, length: int = CLIP_LENGTH) -> Positions:
    """Corrected `centre_out`: positions spread evenly over the whole range, whatever the number of slices."""
    return phase_sets(slices, length, sets=1)[0]


def phase_sets(slices: int, length: int = CLIP_LENGTH, sets: int | None = None) -> list[Positions]:
    """Corrected `strided_sets`: evenly spread clips that differ in phase and together cover the whole range.

    Parameters
    ----------
    slices, length
        As in `centre_out`.
    sets
        Number of clips; max(1, slices // length) when None.

    Notes
    -----
    Clip i holds the positions floor((k + (i + 1/2) / sets) * slices / length), k = 0 ... length - 1: the same
    spacing in every clip and no contiguous clip of another spacing among them.
    """
    _check(slices, length)
    count = sets if sets is not None else max(slices // length, 1)
    order = np.arange(length)
    return [np.floor((order + (index + 0.5) / count) * slices / length).astype(np.int64) for index in range(count)]


def segment_pick(embeddings: int, segments: int = 16) -> Positions:
    """Which embedding stands for each segment, as published: the first of each of `segments` even bins.

    Parameters
    ----------
    embeddings
        Number of windows of the study.
    segments
        Number of tokens of the study network.

    Returns
    -------
    Positions
        (segments,); repeats embeddings when there are fewer than `segments` and skips some when there are more.
        Source: S1, ``ReadFeature`` of ``datasets/covid.py``; the paper's text says mean, see `segment_bins`.
    """
    _check(embeddings, segments)
    return np.linspace(0, embeddings, segments + 1).astype(np.int64)[:-1]


def segment_bins(embeddings: int, segments: int = 16) -> list[Positions]:
    """Corrected segments: the embeddings of each bin, to be averaged; fewer bins where there are fewer embeddings."""
    _check(embeddings, segments)
    return [
        np.asarray(part, dtype=np.int64) for part in np.array_split(np.arange(embeddings), min(segments, embeddings))
    ]


def slices_in_step(spacing: float, step: float) -> int:
    """Count the slices, `spacing` mm apart, that fit into `step` mm; at least one."""
    return max(1, int(step / spacing + 0.01))


def thinned(indices: npt.NDArray[np.integer], spacing: float, step: float) -> Positions:
    """Leave slices out, so that clips of thin and of thick slices reach about equally far.

    Parameters
    ----------
    indices
        Kept slices, ascending.
    spacing, step
        mm between neighbouring slices, and the most that may lie between those that are left; slices that lie further
        apart stay.
    """
    every = slices_in_step(spacing, step)
    return np.asarray(indices[(len(indices) - 1) % every // 2 :: every], dtype=np.int64)


def random_drop_or_repeat(slices: int, length: int, generator: np.random.Generator) -> Positions:
    """S2's training choice: drop random slices, or repeat random ones, until `length` are left, in order."""
    _check(slices, length)
    if slices >= length:
        return np.sort(generator.choice(slices, length, replace=False))
    return np.sort(np.concatenate((np.arange(slices), generator.integers(slices, size=length - slices))))


def random_phase(slices: int, length: int, generator: np.random.Generator) -> Positions:
    """S1's training choice: `centre_out` with a random phase of its step."""
    step = max(slices // length, 1)
    return centre_out(slices, length, int(generator.integers(step)) - step + 1)


SLICE_CHOICES: dict[str, Callable[[int, int], list[Positions]]] = {
    "centre_out": lambda slices, length: [centre_out(slices, length)],
    "strided_sets": strided_sets,
    "windows": windows,
    "whole_range": lambda slices, length: [whole_range(slices, length)],
    "phase_sets": phase_sets,
}


def _walk(slices: int, count: int, step: int) -> Positions:
    """Start at the centre, then right, left, right ... by growing multiples of `step`."""
    centre = slices // 2 if slices % 2 else slices // 2 - 1
    order = np.arange(count)
    return centre + np.where(order % 2, (order + 1) // 2, -(order // 2)) * step


def _check(slices: int, length: int) -> None:
    if slices < 1 or length < 1:
        raise ValueError(f"Cannot choose {length} of {slices} slices: both must be at least 1.")
