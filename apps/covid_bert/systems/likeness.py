"""Whether a study is like those that the networks were trained on; if not, no probability is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from covid_bert.lungs.mask import LEFT_LUNG, RIGHT_LUNG
from covid_bert.networks.density import EmbeddingDensity
from covid_bert.systems.loading import LoadedNetwork
from covid_bert.systems.segmented import SegmentedStudy
from covid_bert.weights.identity import sha256_by_name

DENSITY = "density"
UNLIKE = "This study is unlike what the model has seen: no probability is given."
UNKNOWN = "It cannot be told whether this study is like those of the training: no probability is given."
LARGEST_SLICE_STEP = 6.5  # mm; the thickest slices of the training studies
FEWEST_LUNG_SLICES = 12
PLAUSIBLE_LUNGS = (800.0, 9500.0)  # ml
SMALLEST_LUNG_SHARE = 0.15  # of both lungs' volume


@dataclass(frozen=True)
class Likeness:
    """What is known of a study's distance from the training studies.

    Parameters
    ----------
    score
        Largest of the distance and the plain checks, each relative to its limit; None where it was not assessed.
    unlike
        Whether a limit is passed, or it cannot be told.
    warnings
        Sentences for the user.
    """

    score: float | None = None
    unlike: bool = False
    warnings: tuple[str, ...] = ()


def assess_likeness(
    study: SegmentedStudy, networks: Mapping[str, LoadedNetwork], embedding: npt.NDArray[np.float32] | None
) -> Likeness:
    """Compare a study with the training studies.

    Parameters
    ----------
    study
        With its lungs.
    networks
        Of the system, by role. Without one of the role ``density``, as in the published systems, nothing is assessed.
    embedding
        (channels): what the density judges.

    Returns
    -------
    Likeness
        Without installed weights of the density, or where they were fitted with other networks, the score is None and
        the study counts as unlike.
    """
    density = networks.get(DENSITY)
    if density is None or embedding is None:
        return Likeness()
    found = _input_checks(study)
    notes = []
    assessed = density.identity.trained and not _is_void(networks, study)
    if assessed:
        module = density.module
        assert isinstance(module, EmbeddingDensity)
        with torch.inference_mode():
            distance = float(module(torch.from_numpy(embedding)[None].to(density.device))[0])
        found["Its images lie far from those of the training."] = distance
    else:
        notes.append(UNKNOWN)
    # A value that is not a number passes no comparison, and must not count as likeness.
    reasons = [reason for reason, value in found.items() if not value <= 1.0]
    if reasons:
        notes.append(" ".join((UNLIKE, *reasons)))
    score = float(np.max(list(found.values()))) if assessed else np.nan
    return Likeness(score if np.isfinite(score) else None, bool(notes), tuple(notes))


def _input_checks(study: SegmentedStudy) -> dict[str, float]:
    """Plain facts of the input relative to their limits, by the sentence that is said beyond the limit."""
    volume, lungs = study.volume, study.lungs.array
    step = volume.spacing[0]
    slices = int(np.count_nonzero(lungs.any(axis=(1, 2))))
    milliliters = np.count_nonzero(lungs) * volume.voxel_milliliters
    smallest, largest = PLAUSIBLE_LUNGS
    return {
        f"Its slices lie {step:.1f} mm apart.": step / LARGEST_SLICE_STEP,
        f"It has {slices} slices with lung.": FEWEST_LUNG_SLICES / max(slices, 1),
        f"Its lungs hold {milliliters:.0f} ml.": max(milliliters / largest, smallest / max(milliliters, 1e-3)),
        "It does not show both lungs.": SMALLEST_LUNG_SHARE / max(smaller_lung_share(lungs), 1e-3),
    }


def smaller_lung_share(lungs: npt.NDArray[np.uint8]) -> float:
    """Share of the smaller lung in the voxels of both, in [0, 0.5]; 0 without lungs."""
    right, left = (int(np.count_nonzero(lungs == side)) for side in (RIGHT_LUNG, LEFT_LUNG))
    return min(right, left) / max(right + left, 1)


def _is_void(networks: Mapping[str, LoadedNetwork], study: SegmentedStudy) -> bool:
    """Whether the density was fitted with other networks than those at hand, the lesion network among them."""
    manifest = networks[DENSITY].manifest
    fitted_with = manifest.fitted_with if manifest is not None else {}
    present = sha256_by_name([*(network.identity for network in networks.values()), *study.weights])
    return not fitted_with or not fitted_with.items() <= present.items()
