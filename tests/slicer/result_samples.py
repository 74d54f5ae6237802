"""Results in all the states that a card has to tell apart, and a chest to show them on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mrml_samples import add_volume, result_document, write_nrrd

SIZES = (72, 64, 48)  # along i, j, k
SPACING = (5.0, 5.0, 6.0)
# Slices whose score is highest, 0 at the foot.
LOW_PEAK, HIGH_PEAK = 14, 30


def affine() -> np.ndarray:
    """Return the affine of the chest: slices from foot to head, columns towards the patient's left, as CT comes."""
    matrix = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    matrix[:3, 3] = (SPACING[0] * (SIZES[0] - 1) / 2, SPACING[1] * (SIZES[1] - 1) / 2, -700.0)
    return matrix


def chest() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return CT, lungs, lesions and location map (k, j, i): a body of two lungs with two lesions on the right."""
    k, j, i = np.indices(SIZES[::-1]).astype(float)
    across, deep = (i - (SIZES[0] - 1) / 2) / 34, (j - (SIZES[1] - 1) / 2) / 26
    lungs = np.zeros(SIZES[::-1], np.uint8)
    for label, middle in ((1, -0.42), (2, 0.42)):
        lungs[((across - middle) / 0.34) ** 2 + (deep / 0.7) ** 2 + ((k - 23) / 20) ** 2 < 1] = label
    lesions = np.zeros(SIZES[::-1], np.uint8)
    for label, slice_, radius in ((1, HIGH_PEAK, 5.0), (2, LOW_PEAK, 3.5)):
        ball = (i - 19) ** 2 + (j - 36) ** 2 + ((k - slice_) * 1.2) ** 2 < radius**2
        lesions[ball & (lungs == 1)] = label
    values = np.where(across**2 + deep**2 < 1, 40, -1000)
    values[lungs != 0] = -850
    values[lesions == 1], values[lesions == 2] = -550, 0
    values += np.random.default_rng(1).integers(-20, 20, values.shape)
    near = np.exp(-(((i - 19) / 6) ** 2 + ((j - 36) / 6) ** 2 + ((k - HIGH_PEAK) / 4) ** 2))
    return values.astype(np.int16), lungs, lesions, np.where(lungs != 0, near * 255, 0).astype(np.uint8)


def add_chest(name: str = "CT") -> Any:
    """Add the chest to the scene."""
    node = add_volume(affine(), chest()[0], name)
    node.GetDisplayNode().AutoWindowLevelOff()
    node.GetDisplayNode().SetWindowLevel(1500, -500)
    return node


def write_masks(folder: Path) -> dict[str, Path]:
    """Write lungs, lesions and location map as the worker leaves them."""
    _values, *masks = chest()
    names = ("lungs", "lesions", "location")
    return {name: write_nrrd(folder / f"{name}.nrrd", mask, affine()) for name, mask in zip(names, masks, strict=True)}


def calibrated() -> dict[str, Any]:
    """Return a result of trained weights with a probability, for the chest."""
    document = result_document()
    document["study"].update(slices=SIZES[2], rows=SIZES[1], columns=SIZES[0], spacing_mm=[6.0, 5.0, 5.0])
    document["weights_state"] = "trained"
    document["class_scores"] = {"covid": 0.81, "non-covid": 0.19}
    document["predicted_class"] = "covid"
    document["calibrated_probability"].update(probability=0.76, threshold=0.42)
    for stage, score in zip(document["stages"], (0.72, 0.88), strict=True):
        stage.update(scores={"covid": score, "non-covid": 1 - score}, weights_state="trained")
    for weights in document["provenance"]["weights"]:
        weights["demonstration"] = False
    positions = np.arange(4, 44)
    score = (
        0.15 + 0.75 * np.exp(-(((positions - HIGH_PEAK) / 4) ** 2)) + 0.5 * np.exp(-(((positions - LOW_PEAK) / 3) ** 2))
    )
    lesions = 0.18 * np.exp(-(((positions - HIGH_PEAK) / 5) ** 2)) + 0.07 * np.exp(-(((positions - LOW_PEAK) / 3) ** 2))
    share = np.exp(-(((positions - HIGH_PEAK) / 4) ** 2))
    document["slice_evidence"] = [
        {
            "index": int(index),
            "position_mm": -700.0 + 6.0 * int(index),
            "score": float(score[place]),
            "location_share": float(share[place] / share.sum()),
            "lesion_share": float(lesions[place]),
        }
        for place, index in enumerate(positions)
    ]
    peak = affine() @ (19, 36, HIGH_PEAK, 1)
    document["location_map"].update(peak_slice=HIGH_PEAK, peak_ras_mm=[float(value) for value in peak[:3]])
    document["warnings"] = []
    return document


def demonstration() -> dict[str, Any]:
    """Return the result with demonstration weights, and warnings."""
    document = calibrated()
    document["weights_state"] = "demonstration"
    for part in (*document["provenance"]["weights"], *document["stages"]):
        part.update({"demonstration": True} if "sha256" in part else {"weights_state": "demonstration"})
    document["warnings"] = result_document()["warnings"]
    return document


def uncalibrated() -> dict[str, Any]:
    """Return the result without a probability, and the server's reason for it."""
    document = calibrated()
    document["calibrated_probability"] = None
    document["warnings"] = [
        "The calibration was fitted with other weights of this system, so no probability is given.",
        "The lungs are cut off below by the end of the volume: their volume in ml is too small.",
    ]
    return document


def untrained() -> dict[str, Any]:
    """Return the result of random weights."""
    document = calibrated()
    document.update(
        weights_state="untrained",
        untrained_weights=["default-clip-network", "default-study-network"],
        calibrated_probability=None,
        class_scores={"covid": 0.52, "non-covid": 0.48},
        out_of_distribution_score=None,
        stages_agree=None,
    )
    document["stages"][1]["weights_state"] = "untrained"
    document["provenance"]["weights"][0]["trained"] = False
    return document


def unlike() -> dict[str, Any]:
    """Return the result of a study that is unlike those of the training."""
    document = calibrated()
    document.update(
        calibrated_probability=None,
        out_of_distribution_score=2.4,
        warnings=["This study is unlike what the model has seen: no probability is given."],
    )
    return document


def disagreeing() -> dict[str, Any]:
    """Return a result whose stages name different classes."""
    document = calibrated()
    document["stages_agree"] = False
    document["stages"][0]["scores"] = {"covid": 0.3, "non-covid": 0.7}
    return document


def one_stage() -> dict[str, Any]:
    """Return a result of a system with one stage."""
    document = calibrated()
    document["stages"] = document["stages"][:1]
    document["stages_agree"] = None
    return document


def no_lesions() -> dict[str, Any]:
    """Return a result without a lesion network, all of whose slices have the same score."""
    document = calibrated()
    document["lesions"] = None
    for evidence in document["slice_evidence"]:
        evidence.update(lesion_share=None, score=0.4)
    return document


def no_geometry() -> dict[str, Any]:
    """Return a result of an input that says nothing of its size."""
    document = calibrated()
    document["study"].update(unit="gray8", spacing_mm=None)
    document["lungs"].update(
        right_ml=None, left_ml=None, total_ml=None, right_share_by_hu_class=None, left_share_by_hu_class=None
    )
    for name in ("right_ground_glass_ml", "left_ground_glass_ml", "right_consolidation_ml", "left_consolidation_ml"):
        document["lesions"][name] = None
    document["lesions"]["total_ml"] = document["lesions"]["count"] = None
    document["location_map"]["peak_ras_mm"] = None
    for evidence in document["slice_evidence"]:
        evidence["position_mm"] = None
    return document


STATES: dict[str, Callable[[], dict[str, Any]]] = {
    function.__name__: function
    for function in (
        calibrated, demonstration, uncalibrated, untrained, unlike, disagreeing, one_stage, no_lesions, no_geometry
    )
}  # fmt: skip


def unfold(wait_until: Callable[..., None], panel: Any) -> None:
    """Make the panel as high as it needs to be at 400 px width, as the frame that scrolls does in Slicer."""
    host = panel.widget.parentWidget()
    seen: list[int] = []

    def still() -> bool:
        host.resize(400, max(900, host.layout().totalHeightForWidth(400)))
        seen.append(host.height)
        return len(seen) > 10 and len(set(seen[-10:])) == 1

    wait_until(still)
