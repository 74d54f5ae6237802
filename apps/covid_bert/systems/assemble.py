"""The parts of a `StudyResult` that do not depend on the system."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import numpy.typing as npt

from covid_bert.clips.sampling import Positions
from covid_bert.errors import WeightsError
from covid_bert.lesions import LesionMask, LesionMeasurements
from covid_bert.lungs.mask import LungMask
from covid_bert.lungs.measurements import measure_lungs
from covid_bert.networks.classifiers import CLASS_NAMES
from covid_bert.systems.configuration import SystemConfiguration
from covid_bert.systems.loading import LoadedNetwork
from covid_bert.systems.location import shares_by_slice
from covid_bert.systems.result import (
    CalibratedProbability,
    LesionMeasurement,
    LungMeasurement,
    SliceEvidence,
    StageScore,
    StudyDescription,
    WeightsState,
)
from covid_bert.volumes.volume import Volume
from covid_bert.weights.identity import WeightsIdentity, demonstration_warnings, sha256_by_name
from covid_bert.weights.registry import Role

FINDING = "covid"
# Published preprocessing cuts the outer tenth of each slice away; up to this share of lung may be lost silently.
UNSEEN_LUNG_LIMIT = 0.02


def named(scores: npt.NDArray[np.float64]) -> dict[str, float]:
    """Scores by class name."""
    return {name: float(score) for name, score in zip(CLASS_NAMES, scores, strict=True)}


def weights_state(identities: list[WeightsIdentity]) -> WeightsState:
    """Return the state of the least trained weights."""
    if not all(identity.trained for identity in identities):
        return WeightsState.UNTRAINED
    if any(identity.demonstration for identity in identities):
        return WeightsState.DEMONSTRATION
    return WeightsState.TRAINED


def stages_agree(stages: list[StageScore], state: WeightsState) -> bool | None:
    """Whether the stages name one class; None if fewer than two have weights as trained as the final score's."""
    winners = [max(stage.scores, key=stage.scores.__getitem__) for stage in stages if stage.weights_state is state]
    return len(set(winners)) == 1 if len(winners) > 1 else None


def weights_warnings(state: WeightsState, missing: list[str], taking_part: list[WeightsIdentity]) -> list[str]:
    """Sentences that must stand wherever a result of such weights is shown.

    Parameters
    ----------
    state
        Of the networks behind the final score.
    missing
        Weights that are not installed, by name.
    taking_part
        All weights of the result: also those of lungs and lesions.
    """
    warnings = demonstration_warnings(taking_part)
    if state is WeightsState.UNTRAINED:
        warnings.append(
            f"UNTRAINED NETWORK: weights are not installed ({', '.join(missing)}), so the scores come from random "
            "numbers and say nothing about the patient. `covid-bert weights list` shows what can be installed."
        )
    return warnings


def check_contract(network: LoadedNetwork, configuration: SystemConfiguration) -> None:
    """Refuse weights that were trained on another input than the configuration gives them.

    Raises
    ------
    WeightsError
        Naming what differs.
    """
    contract = network.manifest.input if network.manifest is not None else None
    if contract is None:
        return
    window = (configuration.window.lower, configuration.window.upper)
    side = configuration.input_side
    for what, stated, used in (
        ("window in HU", contract.window_hu, window),
        ("rows and columns", contract.size, (side, side)),
        ("slices of a clip", contract.clip_length, configuration.clip_length),
    ):
        if stated is not None and stated != used:
            raise WeightsError(
                f"The weights {network.identity.name} were made for another input ({what}: {stated}, here {used}).",
                "Install weights for this configuration.",
            )


def check_fitted(networks: Mapping[str, LoadedNetwork]) -> None:
    """Refuse a network that reads the output of another one than it was trained with.

    Parameters
    ----------
    networks
        By role. A density of other networks is not an error: see `covid_bert.systems.likeness`.

    Raises
    ------
    WeightsError
        Naming both.
    """
    present = sha256_by_name(network.identity for network in networks.values())
    for role, network in networks.items():
        if network.manifest is None or role == Role.DENSITY.value:
            continue
        for name, sha256 in network.manifest.fitted_with.items():
            if present.get(name, sha256) != sha256:
                raise WeightsError(
                    f"The weights {network.identity.name} were trained on the output of another version of {name}.",
                    "Make versions live that were trained together: `covid-bert weights list` shows them.",
                )


def calibrate(
    scores: npt.NDArray[np.float64], deciding: list[LoadedNetwork], taking_part: list[WeightsIdentity]
) -> tuple[CalibratedProbability | None, list[str]]:
    """Apply temperature and operating point, where the weights carry both and were fitted with these very networks.

    Parameters
    ----------
    scores
        (classes): final scores.
    deciding
        The networks behind them; the last one's weights carry the calibration.
    taking_part
        All weights of the result; the calibration may also rest on those of the lesion network.

    Returns
    -------
    probability
        None if there is no calibration, or it belongs to other networks.
    warnings
        Why there is none, where one might expect it.
    """
    manifest = deciding[-1].manifest
    if manifest is None or manifest.calibration is None or manifest.operating_point is None:
        return None, []
    calibration, point = manifest.calibration, manifest.operating_point
    needed = sha256_by_name(network.identity for network in deciding[:-1])
    fitted_with = calibration.fitted_with
    if not needed.items() <= fitted_with.items() <= sha256_by_name(taking_part).items():
        return None, ["The calibration was fitted with other weights of this system, so no probability is given."]
    logits = np.log(np.clip(scores, 1e-12, 1.0)) / calibration.temperature
    probabilities = np.exp(logits - logits.max())
    probabilities /= probabilities.sum()
    return CalibratedProbability(
        class_name=point.positive_class,
        probability=float(probabilities[CLASS_NAMES.index(point.positive_class)]),
        calibrated_on=calibration.fitted_on,
        temperature=calibration.temperature,
        threshold=point.threshold,
        threshold_chosen_on=point.chosen_by,
    ), []


def crop_warnings(lungs: LungMask, indices: npt.NDArray[np.int64], seen_share: float) -> list[str]:
    """Say so where a notable part of the lungs lies outside the centre of the slices that the networks see."""
    rows, columns = lungs.array.shape[1:]
    margins = [round(size * (1 - seen_share) / 2) for size in (rows, columns)]
    inside = total = 0
    for index in indices:
        plane = lungs.array[index] > 0
        total += int(np.count_nonzero(plane))
        inside += int(np.count_nonzero(plane[margins[0] : rows - margins[0], margins[1] : columns - margins[1]]))
    unseen = 1 - inside / total if total else 0.0
    if unseen <= UNSEEN_LUNG_LIMIT:
        return []
    return [
        f"{unseen:.0%} of the lungs lie outside the centre of the slices that the networks see; findings there do not "
        "count for the scores and are not on a Grad-CAM map. A reconstruction with a larger field of view avoids this."
    ]


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


def lesion_measurement(lesions: LesionMask, measured: LesionMeasurements) -> LesionMeasurement:
    """Volumes and shares of the lesions, as a part of the result."""
    facts = asdict(measured)
    del facts["share_by_slice"]
    state = weights_state([lesions.weights]) if lesions.weights is not None else None
    return LesionMeasurement(method=lesions.method, weights_state=state, **facts)


def slice_evidence(
    volume: Volume,
    indices: npt.NDArray[np.int64],
    clips: list[Positions],
    clip_scores: npt.NDArray[np.float64],
    location: npt.NDArray[np.uint8],
    lesions: LesionMeasurements | None,
) -> list[SliceEvidence]:
    """Score, share of the location map and share of lesions of each kept slice.

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
    lesions
        None where no lesion network took part.
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
        lesion_share = float(lesions.share_by_slice[index]) if lesions is not None else np.nan
        head = float((volume.affine @ np.array([*centre, index, 1.0]))[2])
        evidence.append(
            SliceEvidence(
                index=index,
                position_mm=round(head, 2) if volume.spacing_known else None,
                score=float(total[position] / count[position]) if count[position] else None,
                location_share=float(shares[index]),
                lesion_share=None if np.isnan(lesion_share) else lesion_share,
            )
        )
    return evidence
