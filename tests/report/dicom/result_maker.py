"""Results whose every number is known, without a network, on DICOM studies whose every voxel is known."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pydicom
from dicom_maker import INTERCEPT, make_series
from volume_maker import phantom

from covid_bert import DEMONSTRATION_MODEL
from covid_bert.lesions import LesionMask, measure_lesions
from covid_bert.lungs.mask import LungMask
from covid_bert.systems import Classification
from covid_bert.systems.assemble import describe, lesion_measurement, measure
from covid_bert.systems.result import (
    CalibratedProbability,
    LocationMap,
    Provenance,
    SliceEvidence,
    StageScore,
    StudyResult,
    WeightsState,
    WindowScore,
)
from covid_bert.volumes import Volume, read
from covid_bert.weights.identity import WeightsIdentity

CREATED = datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone.utc)
PEAK = 7
CALIBRATED = CalibratedProbability(
    class_name="covid",
    probability=0.8125,
    calibrated_on="five folds of a named set",
    temperature=1.5,
    threshold=0.375,
    threshold_chosen_on="the same folds, by the Youden index",
)


def weights(name: str, version: str = "v001") -> WeightsIdentity:
    return WeightsIdentity(
        name=name,
        version=version,
        sha256=(version + name).encode().hex().ljust(64, "0")[:64],
        trained=True,
        demonstration=True,
        trained_on="planted lesions",
        licence="Apache-2.0",
        source="a test",
    )


def make_study(folder: Path, **options) -> Volume:
    """A small chest of `volume_maker` as a DICOM series, read again."""
    make_series(folder, phantom(), **options)
    return read(folder)


def labels_of(hounsfield: np.ndarray) -> np.ndarray:
    """The lungs of that chest, by the density that tells right from left."""
    right, left = (hounsfield >= -880) & (hounsfield <= -825), (hounsfield > -825) & (hounsfield <= -770)
    return right * np.uint8(1) + left * np.uint8(2)


def labels_of_file(path: Path) -> np.ndarray:
    """The same of one file, without the reader under test."""
    return labels_of(pydicom.dcmread(path).pixel_array.astype(int) + INTERCEPT)


def lesions_in(lungs: np.ndarray) -> np.ndarray:
    """Ground-glass in a part of the right lung, consolidation in a part of the left one."""
    lesions = np.zeros_like(lungs)
    lesions[PEAK, :10][lungs[PEAK, :10] == 1] = 1
    lesions[PEAK - 2, 8:][lungs[PEAK - 2, 8:] == 2] = 2
    return lesions


def classify(
    volume: Volume,
    lungs: np.ndarray | None = None,
    *,
    calibrated: bool = True,
    lesions: np.ndarray | bool | None = True,
    version: str = "v001",
) -> Classification:
    """A result of the volume, as a system would give it."""
    own = LungMask(labels_of(volume.array) if lungs is None else lungs, "unet", weights=weights("lungs", version))
    drawn = lesions_in(own.array) if lesions is True else lesions
    mask = None
    if isinstance(drawn, np.ndarray):
        probability = (drawn > 0).astype(np.uint8) * 200
        mask = LesionMask(drawn, probability, "unet", weights=weights("lesions", version))
    measured = None if mask is None else measure_lesions(volume, own, mask)
    count = volume.shape[0]
    evidence = [
        SliceEvidence(
            index=index,
            position_mm=float(volume.affine[2, 3] + index * volume.affine[2, 2]),
            score=0.25 + index / 100,
            location_share={PEAK: 0.5, PEAK - 2: 0.25}.get(index, 0.0),
            lesion_share=None if mask is None else float((mask.array[index] > 0).mean()),
        )
        for index in range(1, count - 1)
    ]
    scores = {"covid": 0.75, "non-covid": 0.25}
    result = StudyResult(
        study=describe(volume),
        weights_state=WeightsState.DEMONSTRATION,
        untrained_weights=[],
        class_scores=scores,
        predicted_class="covid",
        calibrated_probability=CALIBRATED if calibrated else None,
        stages=[StageScore(name="clips", description="Clips", scores=scores, weights_state=WeightsState.DEMONSTRATION)],
        stages_agree=None,
        windows=[WindowScore(kind="windows", slice_indices=list(range(1, count - 1)), scores=scores)],
        slice_evidence=evidence,
        segments=[],
        location_map=LocationMap(
            method="a test", target_class="covid", peak_slice=PEAK, peak_ras_mm=None, right_share=0.5, left_share=0.5
        ),
        lungs=measure(volume, own),
        lesions=None if mask is None or measured is None else lesion_measurement(mask, measured),
        out_of_distribution_score=0.5,
        warnings=[DEMONSTRATION_MODEL, "The lungs are small."],
        provenance=Provenance(
            system="s1",
            configuration="small",
            software_version="0.1.0",
            created=CREATED,
            weights=[weights("clips", version), weights("lungs", version)],
            window_hu=[-1150, 350],
            kept_slices=[1, count - 2],
            slice_choice="windows",
            device="cpu",
            precision="float32",
            seconds={"lungs": 1.0},
        ),
    )
    location = np.zeros(volume.shape, np.uint8)
    location[PEAK] = 100
    return Classification(result, own, location, mask)


def later(classification: Classification) -> Classification:
    """The same answer, computed at another time on another device."""
    made = classification.result.provenance
    made = made.model_copy(update={"created": datetime(2027, 1, 1, tzinfo=timezone.utc), "device": "cuda:0"})
    made = made.model_copy(update={"seconds": {"lungs": 2.0}})
    return replace(classification, result=classification.result.model_copy(update={"provenance": made}))
