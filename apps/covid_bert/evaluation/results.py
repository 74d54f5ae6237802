"""The JSON of a measurement of the default model: one record for each study, and what follows from all of them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from covid_bert import RESEARCH_USE_ONLY
from covid_bert.evaluation.estimates import Estimate
from covid_bert.evaluation.studies import Condition
from covid_bert.systems.result import WeightsState
from covid_bert.volumes import Unit
from covid_bert.weights.identity import WeightsIdentity

SCHEMA_VERSION = "1.0"
IMAGES = "images"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LungRow(_Frozen):
    """Lungs by one method."""

    method: str
    default: bool = Field(description="Whether this is the method that is used when none is asked for.")
    milliliters: float | None = None
    dice: float | None = Field(default=None, description="With the lungs drawn by others; null where there are none.")
    right_dice: float | None = Field(default=None, description="Of the right lung; null where no sides were drawn.")
    left_dice: float | None = None
    surface_distance_mm: float | None = Field(default=None, description="Symmetric mean, with the same mask.")
    lesions_kept: float | None = Field(
        default=None, description="Share of the voxels of drawn lesions that lie inside this mask."
    )
    seconds: float = 0.0
    warnings: list[str] = []
    error: str | None = None


class SliceRow(_Frozen):
    """Which slices are infected, told by what is marked as lesion in them."""

    count: int = Field(description="Slices that hold lung.")
    infected: int = Field(description="Of these, with an infection by the labels.")
    flagged: int = Field(description="Of these, with a share of at least `flag_share`.")
    flag_share: float
    auc: Estimate | None = Field(
        description="By the expected area of lesion. Null where a class is missing. Interval over blocks of 20 mm."
    )
    share_auc: Estimate | None = Field(description="By the share of the slice's lung that is lesion.")
    density_auc: Estimate | None = Field(
        description="The same for a score without a network: the area of the slice's lung denser than -700 HU."
    )
    sensitivity: Estimate | None = Field(
        description="Of `flag_share`; Wilson's interval, with each block of 20 mm as one trial."
    )
    specificity: Estimate | None
    labels: list[bool] = Field(description="Of all slices, foot to head.")


class LesionRow(_Frozen):
    """Lesions inside the lungs of the default method."""

    share: float | None = Field(default=None, description="Of the lung voxels.")
    ground_glass_ml: float | None = None
    consolidation_ml: float | None = None
    count: int | None = None
    lower_share: float | None = None
    peripheral_share: float | None = None
    share_by_slice: list[float | None] = Field(default=[], description="Foot to head; null in slices without lung.")
    area_by_slice: list[float | None] = Field(
        default=[], description="Expected area of lesion in cm2, foot to head; null in slices without lung."
    )
    true_share: float | None = Field(default=None, description="Drawn lesions by drawn lungs.")
    dice: float | None = Field(default=None, description="Of any lesion, with the lesions drawn by others.")
    ground_glass_dice: float | None = None
    consolidation_dice: float | None = None
    surface_distance_mm: float | None = None
    pointing: float | None = Field(
        default=None, description="Share of the voxels with the largest probability that lie in a true lesion."
    )
    slices: SliceRow | None = None
    seconds: float = 0.0
    warnings: list[str] = []
    error: str | None = None


class ClassificationRow(_Frozen):
    """What one system says of the study."""

    system: str
    configuration: str
    score: float | None = Field(default=None, description="For COVID-19; not calibrated.")
    probability: float | None = None
    calibrated_on: str | None = Field(default=None, description="Data and method of the probability's calibration.")
    no_probability_because: str | None = None
    threshold: float | None = Field(default=None, description="Operating point of the probability.")
    weights_state: WeightsState | None = None
    out_of_distribution: float | None = None
    blanked_score: float | None = Field(
        default=None, description="With the lungs replaced by even, noisy lung tissue; infected studies only."
    )
    seconds: float = 0.0
    warnings: list[str] = []
    error: str | None = None


class StudyRow(_Frozen):
    """All that was measured of one study."""

    name: str
    source: str
    patient: str = Field(description="Studies that share it are of one patient, or assumed to be.")
    condition: Condition
    condition_stated: bool = Field(description="False: assumed, the source gives no such label.")
    training_source: bool = Field(description="The networks may have been trained on these lungs: not external.")
    redistributable: bool
    remark: str
    slices: int | None = None
    rows: int | None = None
    columns: int | None = None
    unit: Unit | None = None
    spacing_mm: list[float] | None = Field(default=None, description="(slices, rows, columns), as stored.")
    lungs: list[LungRow] = []
    lesions: LesionRow | None = None
    blanked_lesion_share: float | None = Field(default=None, description="Lesion share with the lungs replaced.")
    classifications: list[ClassificationRow] = []
    descriptor: dict[str, float] = Field(default={}, description="Of the images, for the test of sources.")
    pictures: list[str] = Field(default=[], description="Base names of the written pictures.")
    seconds: float = 0.0
    warnings: list[str] = []
    failures: list[str] = Field(default=[], description="Parts that failed, where the rest of the record stands.")
    error: str | None = Field(default=None, description="Why the study could not be measured.")

    @property
    def default_lungs(self) -> LungRow | None:
        """Lungs of the default method, if they were found."""
        return next((row for row in self.lungs if row.default and row.error is None), None)


class NotMeasuredRow(_Frozen):
    """A set, study or system that took no part."""

    name: str
    reason: str


class Finding(_Frozen):
    """A number over several studies."""

    key: str
    statement: str = Field(description="What was measured, over what.")
    estimate: Estimate
    studies: int
    unit: Literal["patients", "studies", "blocks of slices"] = Field(description="What the interval draws.")


class Target(_Frozen):
    """A stated aim and whether it was reached."""

    key: str
    statement: str
    aim: float | None = Field(description="Null: the studies that set it are missing.")
    at_least: bool = Field(description="True: the value must not be below the aim; false: not above it.")
    value: float | None = Field(description="Null: could not be measured.")
    reached: bool | None


class SourceTest(_Frozen):
    """Whether the source of a study can be told from some features of it."""

    features: str = Field(description="Begins with what they are of: images, lesions or scores.")
    studies: int
    sources: list[str]
    accuracy: float
    chance: float = Field(description="Mean accuracy with the sources dealt out anew to the patients.")
    p_value: float = Field(description="Share of these that are at least as accurate.")

    @property
    def of_images(self) -> bool:
        """Whether the features are of the images, not of what was found in them."""
        return self.features.startswith(IMAGES)


class Measurement(_Frozen):
    """The whole measurement."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION  # type: ignore[assignment]
    research_use_only: str = RESEARCH_USE_ONLY
    demonstration_warnings: list[str] = Field(default=[], description="What must stand beside its numbers.")
    software_version: str
    created: datetime
    weights: list[WeightsIdentity] = Field(description="All that took part.")
    studies: list[StudyRow]
    not_measured: list[NotMeasuredRow]
    findings: list[Finding]
    targets: list[Target]
    source_tests: list[SourceTest]
    warnings: list[str] = Field(default=[], description="Of the run as a whole.")
    seconds: float

    def finding(self, key: str) -> Finding | None:
        """Return the finding of that key, if there is one."""
        return next((item for item in self.findings if item.key == key), None)
