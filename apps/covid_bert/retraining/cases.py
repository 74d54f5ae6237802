"""The labelled studies that a training learns from and is judged on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Part(str, Enum):
    """Where a patient's studies belong, for ever: see `covid_bert.retraining.split`."""

    TRAINING = "training"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True)
class LabelledStudy:
    """One study with what its readers say of it, by the rule for several readers.

    Parameters
    ----------
    identifier
        Of the study on the server; stays out of logs and of version folders.
    patient
        Key of the person, equal for all studies of one; says nothing of who it is.
    part
        Of the frozen split.
    image
        File or folder.
    image_sha256
        Of its content; equal for equal studies under different names.
    mask
        Lung mask to learn from (1 right, 2 left); None where there is none.
    mask_sha256
        Of that file; empty without one.
    study_class
        ``covid``, ``non-covid``, ``normal`` or ``other``; None where no reader said any.
    readers
        Names of the tokens whose labels are in it, sorted.
    """

    identifier: str
    patient: str
    part: Part
    image: Path
    image_sha256: str
    mask: Path | None = None
    mask_sha256: str = ""
    study_class: str | None = None
    readers: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of what is learned from this study: image, mask, class and part."""
        facts = (self.image_sha256, self.mask_sha256, self.study_class or "", self.part.value)
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()


@dataclass(frozen=True)
class LeftOut:
    """A labelled study that cannot be used, and why, in one sentence for people."""

    identifier: str
    reason: str


@dataclass(frozen=True)
class LabelSet:
    """All labelled studies of a server at one moment.

    Parameters
    ----------
    studies
        By identifier, sorted.
    left_out
        Those that cannot be used.
    split
        Identity of the frozen split: SHA-256 of its salt and shares.
    rule
        For several readers: ``newest``, ``majority`` or ``expert:NAME``.
    notes
        Sentences for people on what concerns many studies.
    """

    studies: tuple[LabelledStudy, ...]
    left_out: tuple[LeftOut, ...]
    split: str
    rule: str
    notes: tuple[str, ...] = ()

    def of(self, part: Part) -> tuple[LabelledStudy, ...]:
        """The studies of one part."""
        return tuple(study for study in self.studies if study.part is part)

    @property
    def digest(self) -> str:
        """SHA-256 of all that is learned from and judged on, whatever its order and names."""
        lines = sorted(study.digest for study in self.studies)
        return hashlib.sha256("\n".join([self.split, *lines]).encode()).hexdigest()
