"""The parts of a `Result`: values with what they mean, each read from its JSON object."""

from __future__ import annotations

from dataclasses import dataclass

from .fields import Fields, refused

WEIGHTS_STATES = ("untrained", "demonstration", "trained")


def weights_state(fields: Fields, name: str) -> str:
    """Return one of `WEIGHTS_STATES`; ResultError for anything else."""
    state = fields.text(name)
    if state not in WEIGHTS_STATES:
        raise refused(name)
    return state


def _amount(fields: Fields, name: str) -> float | None:
    return fields.optional(name, lambda known: fields.number(known, 0.0))


def _share(fields: Fields, name: str) -> float | None:
    return fields.optional(name, lambda known: fields.number(known, 0.0, 1.0))


@dataclass(frozen=True)
class CalibratedProbability:
    """A probability in [0, 1] with what it rests on, and the threshold from which the study counts as positive."""

    class_name: str
    probability: float
    calibrated_on: str
    threshold: float
    threshold_chosen_on: str

    @classmethod
    def read(cls, fields: Fields) -> CalibratedProbability:
        """Read it from the fields of its JSON object; ResultError if one is missing or wrong."""
        return cls(
            class_name=fields.text("class_name"),
            probability=fields.number("probability", 0.0, 1.0),
            calibrated_on=fields.text("calibrated_on"),
            threshold=fields.number("threshold", 0.0, 1.0),
            threshold_chosen_on=fields.text("threshold_chosen_on"),
        )


@dataclass(frozen=True)
class Stage:
    """Scores in [0, 1] by class of one stage; not calibrated."""

    name: str
    description: str
    scores: dict[str, float]
    weights_state: str

    @classmethod
    def read(cls, fields: Fields) -> Stage:
        """Read it from the fields of its JSON object; ResultError if one is missing or wrong."""
        return cls(
            fields.text("name"),
            fields.text("description"),
            fields.shares("scores"),
            weights_state(fields, "weights_state"),
        )


@dataclass(frozen=True)
class SliceEvidence:
    """What one slice contributed.

    Parameters
    ----------
    index
        Of the canonical volume: 0 is the slice nearest to the foot, whatever the order in the file.
    position_mm
        Towards the head, of the slice's centre, before any transform in the scene; None without known geometry.
    score
        Mean score of the clips that hold the slice; None where none does.
    location_share
        Share in [0, 1] of the location map in this slice.
    lesion_share
        Lesion by lung voxels, in [0, 1]; None without a lesion network, or lung.
    """

    index: int
    position_mm: float | None
    score: float | None
    location_share: float
    lesion_share: float | None

    @classmethod
    def read(cls, fields: Fields) -> SliceEvidence:
        """Read it from the fields of its JSON object; ResultError if one is missing or wrong."""
        return cls(
            index=fields.whole("index"),
            position_mm=fields.optional("position_mm", fields.number),
            score=fields.optional("score", fields.number),
            location_share=fields.number("location_share", 0.0, 1.0),
            lesion_share=fields.optional("lesion_share", lambda name: fields.number(name, 0.0, 1.0)),
        )


@dataclass(frozen=True)
class LocationMap:
    """What the location map shows. `peak_ras_mm` is in patient coordinates (right, anterior, superior)."""

    method: str
    target_class: str
    peak_slice: int | None
    peak_ras_mm: tuple[float, ...] | None
    right_share: float
    left_share: float

    @classmethod
    def read(cls, fields: Fields) -> LocationMap:
        """Read it from the fields of its JSON object; ResultError if one is missing or wrong."""
        return cls(
            method=fields.text("method"),
            target_class=fields.text("target_class"),
            peak_slice=fields.optional("peak_slice", fields.whole),
            peak_ras_mm=fields.optional("peak_ras_mm", lambda name: fields.numbers(name, 3)),
            right_share=fields.number("right_share", 0.0, 1.0),
            left_share=fields.number("left_share", 0.0, 1.0),
        )


@dataclass(frozen=True)
class Lungs:
    """Volumes in ml and shares in [0, 1] of HU classes by side; None where the input does not tell."""

    method: str
    right_ml: float | None
    left_ml: float | None
    total_ml: float | None
    right_share_by_hu_class: dict[str, float] | None
    left_share_by_hu_class: dict[str, float] | None

    @classmethod
    def read(cls, fields: Fields) -> Lungs:
        """Read it from the fields of its JSON object; ResultError if one is missing or wrong."""
        return cls(
            method=fields.text("method"),
            right_ml=_amount(fields, "right_ml"),
            left_ml=_amount(fields, "left_ml"),
            total_ml=_amount(fields, "total_ml"),
            right_share_by_hu_class=fields.optional("right_share_by_hu_class", fields.shares),
            left_share_by_hu_class=fields.optional("left_share_by_hu_class", fields.shares),
        )


@dataclass(frozen=True)
class Lesions:
    """Volumes in ml and shares in [0, 1] of lesions inside the lungs; None where the input does not tell."""

    method: str
    weights_state: str | None
    right_ground_glass_ml: float | None
    left_ground_glass_ml: float | None
    right_consolidation_ml: float | None
    left_consolidation_ml: float | None
    total_ml: float | None
    right_share: float | None
    left_share: float | None
    share: float | None
    count: int | None
    lower_share: float | None
    peripheral_share: float | None

    @classmethod
    def read(cls, fields: Fields) -> Lesions:
        """Read it from the fields of its JSON object; ResultError if one is missing or wrong."""
        return cls(
            method=fields.text("method"),
            weights_state=fields.optional("weights_state", lambda name: weights_state(fields, name)),
            right_ground_glass_ml=_amount(fields, "right_ground_glass_ml"),
            left_ground_glass_ml=_amount(fields, "left_ground_glass_ml"),
            right_consolidation_ml=_amount(fields, "right_consolidation_ml"),
            left_consolidation_ml=_amount(fields, "left_consolidation_ml"),
            total_ml=_amount(fields, "total_ml"),
            right_share=_share(fields, "right_share"),
            left_share=_share(fields, "left_share"),
            share=_share(fields, "share"),
            count=fields.optional("count", fields.whole),
            lower_share=_share(fields, "lower_share"),
            peripheral_share=_share(fields, "peripheral_share"),
        )


@dataclass(frozen=True)
class Weights:
    """Weights behind the result."""

    name: str
    version: str
    sha256: str
    trained: bool
    demonstration: bool
    trained_on: str

    @classmethod
    def read(cls, fields: Fields) -> Weights:
        """Read it from the fields of its JSON object; ResultError if one is missing or wrong."""
        return cls(
            name=fields.text("name"),
            version=fields.text("version"),
            sha256=fields.text("sha256"),
            trained=fields.flag("trained"),
            demonstration=fields.flag("demonstration"),
            trained_on=fields.text("trained_on"),
        )


@dataclass(frozen=True)
class Provenance:
    """How the result came about; `seconds` by stage."""

    system: str
    configuration: str
    software_version: str
    created: str
    device: str
    precision: str
    slice_choice: str
    kept_slices: tuple[float, ...]
    seconds: dict[str, float]

    @classmethod
    def read(cls, fields: Fields) -> Provenance:
        """Read it from the fields of its JSON object; ResultError if one is missing or wrong."""
        return cls(
            system=fields.text("system"),
            configuration=fields.text("configuration"),
            software_version=fields.text("software_version"),
            created=fields.text("created"),
            device=fields.text("device"),
            precision=fields.text("precision"),
            slice_choice=fields.text("slice_choice"),
            kept_slices=fields.numbers("kept_slices", 2),
            seconds=fields.amounts("seconds"),
        )


@dataclass(frozen=True)
class Study:
    """The input as the server read it; `spacing_mm` is (slices, rows, columns)."""

    identifier: str
    unit: str
    slice_count: int
    row_count: int
    column_count: int
    spacing_mm: tuple[float, ...] | None

    @classmethod
    def read(cls, fields: Fields) -> Study:
        """Read it from the fields of its JSON object; ResultError if one is missing or wrong."""
        return cls(
            identifier=fields.text("identifier"),
            unit=fields.text("unit"),
            slice_count=fields.whole("slices", 1),
            row_count=fields.whole("rows", 1),
            column_count=fields.whole("columns", 1),
            spacing_mm=fields.optional("spacing_mm", lambda name: fields.numbers(name, 3)),
        )
