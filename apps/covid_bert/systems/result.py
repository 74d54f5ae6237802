"""`StudyResult`: what a system says of a study, in the one form that every screen, report and client reads.

The JSON of a result is documented by `docs/result.schema.json`, which is made from this module. Values are honest by
construction: outputs of a network are called scores; a probability exists only together with what it was calibrated
on; the state of the weights (untrained, demonstration, trained) travels with every result.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from covid_bert import RESEARCH_USE_ONLY
from covid_bert.weights.identity import WeightsIdentity

SCHEMA_VERSION = "1.1"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WeightsState(str, Enum):
    """How far the least trained network behind a score is from one that was trained on patients."""

    UNTRAINED = "untrained"
    DEMONSTRATION = "demonstration"
    TRAINED = "trained"


class CalibratedProbability(_Frozen):
    """A probability with what it rests on."""

    class_name: str = Field(description="Class that the probability is of.")
    probability: float = Field(ge=0, le=1)
    calibrated_on: str = Field(description="Data and method of the calibration.")
    temperature: float = Field(gt=0)
    threshold: float = Field(ge=0, le=1, description="Operating point: from here on the study counts as positive.")
    threshold_chosen_on: str


class StageScore(_Frozen):
    """The scores of one stage of a system."""

    name: str
    description: str
    scores: dict[str, float] = Field(description="Score by class, summing to one; not calibrated.")
    weights_state: WeightsState = Field(description="Of the networks of this stage.")


class WindowScore(_Frozen):
    """One clip and its score."""

    kind: str = Field(description="The slice choice that made the clip.")
    slice_indices: list[int] = Field(description="Slices of the canonical volume, foot to head, in the clip's order.")
    scores: dict[str, float]


class SliceEvidence(_Frozen):
    """What one slice contributed."""

    index: int = Field(ge=0, description="Slice of the canonical volume, 0 at the foot.")
    position_mm: float | None = Field(
        description="Patient coordinate of the slice's centre towards the head; null without known geometry."
    )
    score: float | None = Field(description="Mean score for the finding over the clips that hold the slice.")
    location_share: float = Field(ge=0, le=1, description="Share of the study's location map that lies in the slice.")
    lesion_share: float | None = Field(
        ge=0, le=1, description="Lesion voxels by lung voxels of the slice; null without a lesion network, or lung."
    )


class SegmentAttention(_Frozen):
    """How much the study network attended to one segment."""

    windows: list[int] = Field(description="Windows whose embeddings make the segment, by their order in `windows`.")
    attention: float = Field(ge=0, le=1, description="Mean over heads, last block; sums to one over the segments.")


class LocationMap(_Frozen):
    """Summary of the location map; the map itself is an image on the input's grid."""

    method: str = Field(description="What the map shows: Grad-CAM of the score, or the lesion network's probability.")
    target_class: str = Field(description="Class of the score, or of the lesion network.")
    peak_slice: int | None = Field(description="Canonical, kept slice of the maximum; null if the map is empty there.")
    peak_ras_mm: list[float] | None = Field(description="Maximum in patient coordinates (right, anterior, superior).")
    right_share: float = Field(ge=0, le=1, description="Share of the map inside the patient's right lung.")
    left_share: float = Field(ge=0, le=1)
    file_name: str | None = Field(default=None, description="Base name of the written map (0 ... 255), if it was.")


class LungMeasurement(_Frozen):
    """Volumes of the lungs by side; null where the input has no known voxel size."""

    method: str
    right_ml: float | None
    left_ml: float | None
    total_ml: float | None
    right_share_by_hu_class: dict[str, float] | None
    left_share_by_hu_class: dict[str, float] | None
    mask_file_name: str | None = None


class LesionMeasurement(_Frozen):
    """Ground-glass and consolidation inside the lungs, by the patient's side."""

    method: str
    weights_state: WeightsState | None = Field(description="Of the lesion network; null for a mask from outside.")
    right_ground_glass_ml: float | None = Field(description="Null, like all volumes, without known voxel size.")
    left_ground_glass_ml: float | None
    right_consolidation_ml: float | None
    left_consolidation_ml: float | None
    total_ml: float | None
    right_share: float | None = Field(ge=0, le=1, description="Of the right lung's volume; null without right lung.")
    left_share: float | None = Field(ge=0, le=1)
    share: float | None = Field(ge=0, le=1, description="Of both lungs' volume.")
    count: int | None = Field(ge=0, description="Connected lesions of at least 0.1 ml.")
    lower_share: float | None = Field(
        ge=0, le=1, description="Share of the lesions in the lower half of the lungs' height; null without lesions."
    )
    peripheral_share: float | None = Field(
        ge=0, le=1, description="Share of the lesions within 20 mm of the border of their lung; null without lesions."
    )
    mask_file_name: str | None = Field(default=None, description="Base name of the written mask, if it was.")


class StudyDescription(_Frozen):
    """The input, without anything that names the patient."""

    identifier: str = Field(description="Pseudonymous: from a hash of values and geometry.")
    file_format: str
    unit: Literal["HU", "gray8"]
    slices: int
    rows: int
    columns: int
    spacing_mm: list[float] | None = Field(description="(slices, rows, columns); null without known geometry.")


class Provenance(_Frozen):
    """How the result came about."""

    system: str
    configuration: str
    software_version: str
    created: datetime
    weights: list[WeightsIdentity]
    window_hu: list[float] | None = Field(description="[lower, upper] of the 8-bit conversion; null for gray levels.")
    kept_slices: list[int] = Field(description="[first, last] canonical slice of the open-lung range.")
    slice_choice: str
    device: str
    precision: str
    seconds: dict[str, float] = Field(description="Wall seconds by stage.")


class StudyResult(_Frozen):
    """All that a system says of one study."""

    schema_version: Literal["1.1"] = SCHEMA_VERSION  # type: ignore[assignment]
    research_use_only: str = RESEARCH_USE_ONLY
    study: StudyDescription
    weights_state: WeightsState
    untrained_weights: list[str] = Field(description="Weights that are missing, by the name to install them under.")
    class_scores: dict[str, float] = Field(description="Final score by class, summing to one; not calibrated.")
    predicted_class: str = Field(description="Class with the largest score (at the operating point, if there is one).")
    calibrated_probability: CalibratedProbability | None
    stages: list[StageScore]
    stages_agree: bool | None = Field(
        description="Whether the stages name the same class; null for a single stage, or one with less trained weights."
    )
    windows: list[WindowScore]
    slice_evidence: list[SliceEvidence]
    segments: list[SegmentAttention]
    location_map: LocationMap | None
    lungs: LungMeasurement
    lesions: LesionMeasurement | None = Field(description="Null: no lesion network took part; `warnings` says why.")
    out_of_distribution_score: float | None = Field(
        description="Distance from the training studies, or of the input from plain limits, as a share of the limit; "
        "above 1 no probability is given. Null: not assessed."
    )
    warnings: list[str]
    provenance: Provenance

    @property
    def is_unlike_training(self) -> bool:
        """Whether the study was assessed, and lies outside of what the model has seen."""
        return self.out_of_distribution_score is not None and self.out_of_distribution_score > 1.0
