"""What counts where several readers have labelled one case: the newest, most of them, or one who is named."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from covid_bert.errors import ParameterError

NEWEST, MAJORITY = "newest", "majority"
_EXPERT = re.compile(r"expert:([A-Za-z0-9._-]{1,64})")


@dataclass(frozen=True)
class MaskOpinion:
    """The newest mask of one reader.

    Parameters
    ----------
    reader
        Name of the token.
    path, sha256
        Of the file.
    """

    reader: str
    path: Path
    sha256: str


@dataclass(frozen=True)
class ClassOpinion:
    """The newest study label of one reader."""

    reader: str
    study_class: str


Opinion = TypeVar("Opinion", MaskOpinion, ClassOpinion)


@dataclass(frozen=True)
class ReaderRule:
    """A rule for cases with labels of several readers.

    Parameters
    ----------
    text
        ``newest``, ``majority`` or ``expert:NAME``.

    Raises
    ------
    ParameterError
        If it is none of these.
    """

    text: str

    def __post_init__(self) -> None:
        if self.text not in (NEWEST, MAJORITY) and _EXPERT.fullmatch(self.text) is None:
            raise ParameterError("That is no rule for several readers.", "Use newest, majority or expert:NAME.")

    @property
    def expert(self) -> str | None:
        """The reader who alone counts, or None."""
        found = _EXPERT.fullmatch(self.text)
        return found[1] if found is not None else None

    def heard(self, opinions: Sequence[Opinion]) -> tuple[Opinion, ...]:
        """Return the opinions that count.

        Parameters
        ----------
        opinions
            One of each reader, the newest last.

        Returns
        -------
        tuple
            In the same order; empty where nobody who counts has said anything.
        """
        if self.text == NEWEST:
            return tuple(opinions[-1:])
        if self.text == MAJORITY:
            return tuple(opinions)
        return tuple(opinion for opinion in opinions if opinion.reader == self.expert)


def majority_class(opinions: Sequence[ClassOpinion]) -> str | None:
    """Return the class that most readers chose; None where two were chosen equally often."""
    counts = Counter(opinion.study_class for opinion in opinions).most_common(2)
    return None if len(counts) == 2 and counts[0][1] == counts[1][1] else counts[0][0]


def majority_mask(masks: Sequence[npt.NDArray[np.uint8]], labels: int = 3) -> npt.NDArray[np.uint8]:
    """Return for each voxel the label of most readers; of those chosen equally often, that of the newest of them.

    Parameters
    ----------
    masks
        One of each reader, all of one shape, the newest last.
    labels
        Number of labels, with the background: values are below it.

    Returns
    -------
    npt.NDArray[np.uint8]
        Of the shape of the masks.
    """
    result = np.empty_like(masks[0])
    # A slice at a time: the votes take several times the memory of a mask.
    for index in range(len(result)):
        slices = np.stack([mask[index] for mask in masks])
        weights = np.zeros((labels, *slices.shape[1:]), np.int32)
        for label in range(labels):
            chosen = slices == label
            newest = np.where(chosen, np.arange(1, len(masks) + 1)[:, None, None], 0).max(axis=0)
            weights[label] = chosen.sum(axis=0) * (len(masks) + 1) + newest
        result[index] = weights.argmax(axis=0)
    return result
