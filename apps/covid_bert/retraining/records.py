"""What is written beside a trained version: how it came about, what it was measured on, and what the gate said."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

RECORD_FILE = "training.json"
CURVE_FILE = "curve.csv"
CURVE_PICTURE = "curve.png"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Measured(_Record):
    """A number with its 95 % bootstrap interval over patients.

    Parameters
    ----------
    measure
        What was measured, for people: "mean Dice of both lungs".
    value
        Of this version.
    lower, upper
        Limits; None where there are too few patients.
    patients
        Independent units behind it.
    data
        On what: one of the names in `covid_bert.retraining.measuring`, such as "frozen test set".
    """

    measure: str
    value: float
    lower: float | None
    upper: float | None
    patients: int
    data: str


class Comparison(_Record):
    """Candidate against another version on the same studies, paired by patient.

    Parameters
    ----------
    measure, data
        As in `Measured`; higher is better.
    against
        The other version.
    other, candidate
        The two values.
    difference
        Candidate minus other.
    lower, upper
        95 % interval of the difference by paired bootstrap; None where there are too few patients.
    margin
        By how much the candidate may be worse.
    patients
        Independent units.
    passed
        Whether the lower limit is at least minus the margin.
    """

    measure: str
    data: str
    against: str
    other: float
    candidate: float
    difference: float
    lower: float | None
    upper: float | None
    margin: float
    patients: int
    passed: bool


class GateDecision(_Record):
    """Whether a version may go live.

    Parameters
    ----------
    passed
        Whether all comparisons passed and there was enough to judge.
    reason
        One or two sentences for people.
    rule
        The written rule, with its numbers.
    against
        Version of the live weights it was compared with; where the live one was damaged, that which served in its
        place.
    pointed
        What the pointer said then, where that was not `against`.
    comparisons
        All that were made: with `against`, and with the anchor where that is another version.
    agreement
        Of the masks with those of `against`; None for classifiers.
    """

    passed: bool
    reason: str
    rule: str
    against: str
    pointed: str | None = None
    comparisons: tuple[Comparison, ...] = ()
    agreement: Measured | None = None

    @property
    def replaces(self) -> str:
        """What the pointer must still say for it to go live: see `covid_bert.weights.store.standing`."""
        return self.against if self.pointed is None else self.pointed


class CurvePoint(_Record):
    """One epoch. `validation` is by name of the measure; the first one decides, higher is better."""

    epoch: int = Field(ge=1)
    loss: float
    learning_rate: float
    seconds: float
    validation: dict[str, float] = Field(default_factory=dict)


class DataEntry(_Record):
    """One study that was used, by hashes alone: version folders travel, ids of studies stay.

    Only those of the part ``training`` were learned from; ``validation`` decided when the fit ended.
    """

    image_sha256: str
    label_sha256: str
    part: Literal["training", "validation", "test"]


class TrainingRecord(_Record):
    """All that is known of how a version came about.

    Parameters
    ----------
    model
        Name of the trainer: ``lungs``, ``covid_s1``, ``covid_s2`` or ``covid_baseline``.
    run
        Identity of the run.
    started_from
        Weights it began with: name, version, SHA-256.
    configuration
        Everything that decided how it came out: parameters, schedule, seed, device, precision.
    data
        What was used.
    data_sha256
        `covid_bert.retraining.cases.LabelSet.digest`.
    split
        Identity of the frozen split.
    rule
        For several readers.
    left_out
        How many labelled studies could not be used.
    metrics
        On the frozen validation set and on the frozen test set, each where it has enough patients.
    gate
        What was decided.
    curve
        By epoch.
    seconds
        Of computing.
    code_version
        Version of covid-bert.
    """

    schema_version: Literal[1] = 1
    model: str
    run: str
    started_from: dict[str, str]
    configuration: dict[str, str | int | float | bool | None]
    data: tuple[DataEntry, ...]
    data_sha256: str
    split: str
    rule: str
    left_out: int
    metrics: tuple[Measured, ...]
    gate: GateDecision
    curve: tuple[CurvePoint, ...]
    seconds: float
    code_version: str
