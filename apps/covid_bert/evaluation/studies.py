"""Types of the external studies; `covid_bert.evaluation.sources` reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from covid_bert.volumes import Volume


class Condition(str, Enum):
    """What a study shows, as its source says, or as is assumed where the source says nothing."""

    COVID_19 = "COVID-19"
    PNEUMONIA = "pneumonia"
    NO_PNEUMONIA = "no pneumonia"
    LUNG_TUMOUR = "lung tumour"


@dataclass(frozen=True)
class StudyFacts:
    """What is known of a study without reading it.

    Parameters
    ----------
    name, source
        Short name, and the data set.
    patient
        Studies of one patient are not independent: they share this.
    condition
        What it shows.
    condition_stated
        False where the source gives no such label and the condition is assumed (scanned for something else).
    training_source
        True where the study may be redistributed and may therefore be among the lungs that the shipped networks were
        trained on: it is then no external study.
    redistributable
        Whether a picture of it may be shown in the documentation.
    remark
        What a reader of its numbers must know.
    """

    name: str
    source: str
    patient: str
    condition: Condition
    condition_stated: bool = True
    training_source: bool = False
    redistributable: bool = False
    remark: str = ""


@dataclass(frozen=True, eq=False)
class ExternalStudy:
    """A study with what is known about it, all on the volume's canonical grid.

    Parameters
    ----------
    facts
        Name, source, condition.
    volume
        The images.
    lungs
        uint8 (slices, rows, columns): lungs drawn by others (1 right, 2 left; 1 for both where sides are not told
        apart), or None.
    lesions
        uint8 likewise: 0 none, 1 ground-glass, 2 consolidation, or None.
    slice_labels
        bool (slices), foot to head: an infection is seen in the slice; or None.
    """

    facts: StudyFacts
    volume: Volume
    lungs: npt.NDArray[np.uint8] | None = None
    lesions: npt.NDArray[np.uint8] | None = None
    slice_labels: npt.NDArray[np.bool_] | None = None

    @property
    def name(self) -> str:
        """Short name."""
        return self.facts.name


@dataclass(frozen=True)
class ListedStudy:
    """A study that is there, and how to read it.

    Parameters
    ----------
    facts
        Known before reading.
    load
        Reads it; raises the errors of `covid_bert.volumes.read` and `read_mask`.
    """

    facts: StudyFacts
    load: Callable[[], ExternalStudy]


@dataclass(frozen=True)
class NotMeasured:
    """A study or set that takes no part, and why."""

    name: str
    reason: str
