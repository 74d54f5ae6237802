"""`SyntheticStudy`: a real lung with planted lesions, with masks and labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from covid_bert.errors import InputError, ParameterError
from covid_bert.lungs.mask import LEFT_LUNG, LungMask
from covid_bert.synthesis import distractors, scanner
from covid_bert.synthesis.distractors import IGNORE, Canvas
from covid_bert.synthesis.opacities import plant
from covid_bert.synthesis.patterns import PATTERNS, draw_opacities
from covid_bert.synthesis.scanner import Scan
from covid_bert.synthesis.space import LungSpace
from covid_bert.volumes.volume import Unit, Volume

Changed = TypeVar("Changed", Canvas, Scan)

# The lung itself, before what the scanner does to the picture of it; each with its chance.
TISSUE: dict[str, tuple[float, Callable[[Canvas, np.random.Generator], None]]] = {
    "emphysema": (0.2, distractors.emphysema),
    "poor breath": (0.3, distractors.poor_breath),
    "dependent density": (0.45, distractors.dependent_density),
    "nodules": (0.25, distractors.nodules),
    "mass": (0.08, distractors.mass),
    "plate atelectasis": (0.2, distractors.plate_atelectasis),
    "contrast": (0.15, distractors.contrast),
    "bowel gas": (0.12, distractors.bowel_gas),
}
# A pattern beside which a distractor would look like a lesion that was forgotten.
CONTRADICTED = {"bronchopneumonia": "nodules"}
# Over the lesions.
FLUID: dict[str, tuple[float, Callable[[Canvas, np.random.Generator], None]]] = {
    "effusion": (0.1, distractors.effusion),
}
# In the whole picture, not in the lungs alone.
SCANNER: dict[str, tuple[float, Callable[[Scan, np.random.Generator], None]]] = {
    "motion": (0.2, scanner.motion),
    "soft kernel": (0.3, scanner.blur),
    "sharp kernel": (0.25, scanner.sharpen),
    "noise": (0.4, scanner.noise),
}


@dataclass(frozen=True, eq=False)
class SyntheticStudy:
    """A study that was made from a real one.

    Parameters
    ----------
    volume
        int16 HU on the grid of the real study.
    lungs
        Lungs after planting: fluid is not lung, consolidation is.
    lesions
        uint8 (slices, rows, columns): 0 none, 1 ground-glass, 2 consolidation, 255 not to be learned from.
    pattern
        A key of `covid_bert.synthesis.PATTERNS`.
    recipe
        All that was planted, as JSON values.
    """

    volume: Volume
    lungs: LungMask
    lesions: npt.NDArray[np.uint8]
    pattern: str
    recipe: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Planted:
    """The arrays of a `SyntheticStudy`, and its recipe."""

    hounsfield: npt.NDArray[np.int16]
    lungs: npt.NDArray[np.uint8]
    lesions: npt.NDArray[np.uint8]
    recipe: dict[str, Any]


def synthesize(
    volume: Volume,
    lungs: LungMask,
    *,
    pattern: str = "covid-like",
    severity: float = 0.5,
    seed: int = 0,
    with_distractors: bool = True,
) -> SyntheticStudy:
    """Plant lesions in the lungs of a real chest CT, or of a phantom.

    The same study, pattern, severity and seed give the same result.

    Parameters
    ----------
    volume
        In HU.
    lungs
        Of the same study.
    pattern
        A key of `covid_bert.synthesis.PATTERNS`.
    severity
        In (0, 1]: number and size of the lesions.
    seed
        Of everything that is drawn.
    with_distractors
        Whether nodules, emphysema, motion, noise and the like are added, each with its own chance.

    Raises
    ------
    InputError
        If the volume is not in HU, or the mask is empty or on another grid.
    ParameterError
        If pattern or severity cannot be used.
    """
    if volume.unit is not Unit.HOUNSFIELD or not volume.spacing_known:
        raise InputError("Lesions can only be planted in a CT in Hounsfield units.", "Choose a DICOM or NIfTI study.")
    if lungs.array.shape != volume.shape or not lungs.array.any():
        raise InputError("The lung mask does not fit the volume.", "Segment the lungs of this volume.")
    if int(lungs.array.max()) > LEFT_LUNG:
        raise InputError("The lung mask holds other labels than 1 and 2.", "Give the right lung 1 and the left lung 2.")
    planted = plant_lesions(
        volume.array,
        lungs.array,
        volume.spacing,
        pattern=pattern,
        severity=severity,
        seed=seed,
        with_distractors=with_distractors,
    )
    return SyntheticStudy(
        replace(volume, array=planted.hounsfield),
        LungMask(planted.lungs, "given"),
        planted.lesions,
        pattern,
        planted.recipe,
    )


def plant_lesions(
    hounsfield: npt.NDArray[np.generic],
    lungs: npt.NDArray[np.uint8],
    spacing: tuple[float, float, float],
    *,
    pattern: str,
    severity: float,
    seed: int,
    with_distractors: bool = True,
) -> Planted:
    """Plant lesions in arrays; see `synthesize`.

    Parameters
    ----------
    hounsfield
        (slices, rows, columns), canonical order; not changed.
    lungs
        uint8 on the same grid.
    spacing
        mm along the same axes.
    pattern, severity, seed, with_distractors
        See `synthesize`.
    """
    if pattern not in PATTERNS:
        raise ParameterError(f"There is no lesion pattern '{pattern}'.", f"Use one of: {', '.join(PATTERNS)}.")
    space = LungSpace.of(lungs, spacing)
    image = hounsfield[space.box].astype(np.float32)
    canvas = Canvas(image, np.zeros(image.shape, np.uint8), space, space.lungs.copy(), _parenchyma(image, space.lungs))
    # Streams of their own, so that the distractors do not depend on what was planted.
    before, lesions, after = (np.random.default_rng([seed, stream]) for stream in range(3))
    added = _add(canvas, TISSUE, before, without=CONTRADICTED.get(pattern, "")) if with_distractors else []
    opacities = draw_opacities(pattern, space, lesions, severity)
    planted = plant(canvas.image, space, opacities, canvas.parenchyma)
    canvas.labels = np.where(canvas.labels == IGNORE, canvas.labels, planted)
    added += _add(canvas, FLUID, after) if with_distractors else []
    picture = hounsfield.astype(np.float32)
    picture[space.box] = canvas.image
    scan = Scan(picture, spacing)
    added += _add(scan, SCANNER, after) if with_distractors else []
    result = np.clip(np.rint(scan.image), -1024, 3071).astype(np.int16)
    new_lungs, labels = lungs.copy(), np.zeros(lungs.shape, np.uint8)
    new_lungs[space.box], labels[space.box] = canvas.lungs, canvas.labels
    recipe = {
        "pattern": pattern,
        "severity": severity,
        "seed": seed,
        "parenchyma_hu": round(canvas.parenchyma, 1),
        "distractors": added,
        "opacities": [asdict(opacity) for opacity in opacities],
    }
    return Planted(result, new_lungs, labels, recipe)


def _parenchyma(image: npt.NDArray[np.float32], lungs: npt.NDArray[np.uint8]) -> float:
    return float(np.median(image[lungs > 0]))


def _add(
    changed: Changed,
    choices: dict[str, tuple[float, Callable[[Changed, np.random.Generator], None]]],
    generator: np.random.Generator,
    *,
    without: str = "",
) -> list[str]:
    added = []
    for name, (chance, apply) in choices.items():
        # One draw and one stream for each, so that a change of one leaves the others as they are.
        own = np.random.default_rng(generator.integers(2**31))
        if own.random() < chance and name != without:
            apply(changed, own)
            added.append(name)
    return added
