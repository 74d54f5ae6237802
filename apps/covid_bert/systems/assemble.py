"""The parts of a `StudyResult` that do not depend on the system."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from covid_bert.clips.sampling import Positions
from covid_bert.lungs.mask import LungMask
from covid_bert.lungs.measurements import measure_lungs
from covid_bert.networks.classifiers import CLASS_NAMES
from covid_bert.systems.loading import LoadedNetwork
from covid_bert.systems.location import shares_by_slice
from covid_bert.systems.result import (
    CalibratedProbability,
    LungMeasurement,
    SliceEvidence,
    StudyDescription,
    WeightsState,
)
from covid_bert.volumes.volume import Volume

FINDING = "covid"


def named(scores: npt.NDArray[np.float64]) -> dict[str, float]:
    """Scores by class name."""
    return {name: float(score) for name, score in zip(CLASS_NAMES, scores, strict=True)}


def weights_state(networks: list[LoadedNetwork]) -> WeightsState:
    """Return the state of the least trained network."""
    if not all(network.identity.trained for network in networks):
        return WeightsState.UNTRAINED
    if any(network.identity.demonstration for network in networks):
        return WeightsState.DEMONSTRATION
    return WeightsState.TRAINED


def weights_warnings(state: WeightsState) -> list[str]:
    """Sentences that must stand wherever a result of such weights is shown."""
    if state is WeightsState.UNTRAINED:
        return [
            "UNTRAINED NETWORK: no trained weights are installed, so the scores come from random numbers and say "
            "nothing about the patient. Install weights with `covid-bert weights import FILE`."
        ]
    if state is WeightsState.DEMONSTRATION:
        return ["DEMONSTRATION MODEL: trained to show the program, not on patients; do not read the scores."]
    return []


def predict(scores: dict[str, float], calibrated: CalibratedProbability | None) -> str:
    """Name the class: at the operating point where there is one, else the largest score."""
    if calibrated is None:
        return max(scores, key=scores.__getitem__)
    if calibrated.probability >= calibrated.threshold:
        return calibrated.class_name
    others = {name: score for name, score in scores.items() if name != calibrated.class_name}
    return max(others, key=others.__getitem__)


def describe(volume: Volume) -> StudyDescription:
    """Describe the input without anything that names the patient."""
    slices, rows, columns = volume.shape
    return StudyDescription(
        identifier=volume.identifier,
        file_format=volume.source.file_format,
        unit=volume.unit.value,
        slices=slices,
        rows=rows,
        columns=columns,
        spacing_mm=[round(value, 4) for value in volume.spacing] if volume.spacing_known else None,
    )


def measure(volume: Volume, lungs: LungMask) -> LungMeasurement:
    """Volumes and HU classes of the lungs, as a part of the result."""
    measured = measure_lungs(volume, lungs)
    return LungMeasurement(
        method=lungs.method,
        right_ml=measured.right_ml,
        left_ml=measured.left_ml,
        total_ml=measured.total_ml,
        right_share_by_hu_class=measured.right_share_by_hu_class,
        left_share_by_hu_class=measured.left_share_by_hu_class,
    )


def slice_evidence(
    volume: Volume,
    indices: npt.NDArray[np.int64],
    clips: list[Positions],
    clip_scores: npt.NDArray[np.float64],
    location: npt.NDArray[np.uint8],
) -> list[SliceEvidence]:
    """Score and share of the location map of each kept slice.

    Parameters
    ----------
    volume
        The study.
    indices
        Slice of the volume for each kept slice.
    clips, clip_scores
        Positions of each clip among the kept slices, and (clips, classes) scores.
    location
        uint8 (slices, rows, columns): the location map on the volume's grid.
    """
    shares = shares_by_slice(location)
    total = np.zeros(len(indices))
    count = np.zeros(len(indices))
    for clip, scores in zip(clips, clip_scores, strict=True):
        members = np.unique(clip)
        total[members] += scores[CLASS_NAMES.index(FINDING)]
        count[members] += 1
    centre = np.array([(volume.shape[2] - 1) / 2, (volume.shape[1] - 1) / 2])
    evidence = []
    for position, index in enumerate(int(value) for value in indices):
        head = float((volume.affine @ np.array([*centre, index, 1.0]))[2])
        evidence.append(
            SliceEvidence(
                index=index,
                position_mm=round(head, 2) if volume.spacing_known else None,
                score=float(total[position] / count[position]) if count[position] else None,
                location_share=float(shares[index]),
            )
        )
    return evidence
