"""What a trainer hands over: weights that are not installed yet, and how they compare with the live ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from covid_bert.retraining.cases import LabelledStudy
from covid_bert.retraining.gate import Judgement
from covid_bert.retraining.records import CurvePoint
from covid_bert.weights.manifest import Provenance

#: Between what weights were trained on first, and what they were trained on last.
THEN = ", and then "
Scalar = str | int | float | bool | None


@dataclass(frozen=True, eq=False)
class TrainedWeights:
    """Weights of one network of a model.

    Parameters
    ----------
    name
        In the store.
    state
        State dict, on the CPU.
    provenance
        For its manifest, as far as it is known before the others are installed.
    reads
        Names of weights of the same `Trained`, installed before, whose output these read: their SHA-256 goes into
        ``fitted_with`` of the provenance and of its calibration.
    """

    name: str
    state: Mapping[str, Tensor]
    provenance: Provenance
    reads: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Trained:
    """What came out of one training.

    Parameters
    ----------
    weights
        In the order in which they are installed.
    head
        Name of the one whose pointer decides what is live.
    judgement
        On the held-out patients and on the reference studies; the gate decides on it.
    curve
        Of the training; of several fits the one of the head.
    seconds
        Of all fits.
    started_from
        name, version and sha256 of the head that it began with.
    configuration
        Everything that decided how it came out.
    used
        The studies that were used: learned from, or judged on.
    notes
        Sentences for people.
    """

    weights: tuple[TrainedWeights, ...]
    head: str
    judgement: Judgement
    curve: tuple[CurvePoint, ...]
    seconds: float
    started_from: dict[str, str]
    configuration: dict[str, Scalar]
    used: tuple[LabelledStudy, ...]
    notes: tuple[str, ...] = ()
