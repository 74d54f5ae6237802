"""What the networks say of a study, as far as it matters for which one is labelled next."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from covid_bert.active_learning.uncertainty import disagreement, entropy
from covid_bert.errors import WeightsError
from covid_bert.lesions.network import WEIGHTS_NAME as LESION_WEIGHTS
from covid_bert.lungs.unet import WEIGHTS_NAME as LUNG_WEIGHTS
from covid_bert.progress import Progress
from covid_bert.systems import SYSTEMS, Classification, create
from covid_bert.systems.loading import weights_of
from covid_bert.systems.result import WeightsState
from covid_bert.volumes import Volume
from covid_bert.volumes.study_files import header_facts, state_files, study_files, voxels_apart
from covid_bert.weights.files import sha256_of
from covid_bert.weights.serving import serviceable
from covid_bert.weights.version_folder import InstalledWeights

# Its two stages can disagree, and it embeds whole studies.
SYSTEM, CONFIGURATION = "s1", "small"


@dataclass(frozen=True, eq=False)
class StudyScores:
    """Scores of one study by the weights that serve.

    Parameters
    ----------
    entropy
        Of the final class scores, in [0, 1].
    disagreement
        Of the stages, in [0, 1]; None for a system with one.
    mask
        Uncertainty of the lung network along its borders, in [0, 1]; None where another method found the lungs.
    embedding
        float32 (channels): mean over the windows.
    """

    entropy: float
    disagreement: float | None
    mask: float | None
    embedding: npt.NDArray[np.float32]

    @classmethod
    def of(cls, classification: Classification) -> StudyScores:
        """Take the scores from what inference has computed anyway.

        Raises
        ------
        WeightsError
            If the networks are not trained: their scores would come from random numbers.
        """
        result = classification.result
        if result.weights_state is WeightsState.UNTRAINED or classification.embedding is None:
            raise WeightsError(
                "The networks that score studies are not trained.", f"Install {', '.join(weights_names())}."
            )
        stages = [[stage.scores[name] for name in sorted(stage.scores)] for stage in result.stages]
        return cls(
            entropy=float(entropy(list(result.class_scores.values()))),
            disagreement=float(disagreement(stages)) if len(stages) > 1 else None,
            mask=classification.lungs.uncertainty,
            embedding=classification.embedding.astype(np.float32),
        )


def score_study(volume: Volume, progress: Progress, *, device: str = "auto") -> StudyScores:
    """Run the systems on a study, and return its scores.

    Parameters
    ----------
    volume
        The study.
    progress
        Told stage and fraction; may pause and cancel.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    CovidBertError
        As `covid_bert.systems.ClassificationSystem.classify`, and if weights are missing.
    """
    return StudyScores.of(create(SYSTEM, CONFIGURATION, device=device).classify(volume, progress=progress))


def weights_names() -> tuple[str, ...]:
    """Names of all weights that scores depend on."""
    parts = SYSTEMS[SYSTEM].configurations[CONFIGURATION].parts.values()
    return (LUNG_WEIGHTS, LESION_WEIGHTS, *(part.weights for part in parts))


def weights_that_serve() -> dict[str, InstalledWeights | None]:
    """Return what would score a study now, by name: live, fitted together, or in the place of what is damaged.

    Returns
    -------
    dict
        With all of `weights_names`; None where nothing is live.

    Raises
    ------
    WeightsError
        If something live is damaged, and nothing that was live before takes its place.
    """
    configuration = SYSTEMS[SYSTEM].configurations[CONFIGURATION]
    found = {name: serviceable(name).weights for name in (LUNG_WEIGHTS, LESION_WEIGHTS)}
    of_roles = weights_of(configuration).weights
    return found | {part.weights: of_roles[role] for role, part in configuration.parts.items()}


def check_weights() -> None:
    """Refuse to score with networks that are not there, before any study is read.

    Raises
    ------
    WeightsError
        If nothing is live under some of the names, or it is damaged and nothing that was live before takes its place.
    """
    lacking = [name for name, weights in weights_that_serve().items() if weights is None]
    if lacking:
        raise WeightsError(
            f"Studies cannot be scored: the weights {', '.join(lacking)} are not live.",
            "`covid-bert weights list` shows what can be made live.",
        )


def weights_digest() -> str:
    """SHA-256 that changes whenever other weights would score a study, live ones or those in their place.

    Raises
    ------
    WeightsError
        As `weights_that_serve`.
    """
    facts = {name: None if weights is None else weights.sha256 for name, weights in weights_that_serve().items()}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def content_digest(image: Path) -> str:
    """SHA-256 of a study's files and their names inside a folder; equal for equal studies under other names.

    Parameters
    ----------
    image
        File or folder.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    digest = hashlib.sha256()
    voxels = voxels_apart(image)
    if voxels is not None:
        digest.update(f"{header_facts(image)}\0{sha256_of(voxels)}".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()
    for path in study_files(image):
        digest.update(f"{path.relative_to(image).as_posix()}\0".encode("utf-8", "surrogateescape"))
        digest.update(sha256_of(path).encode())
    return digest.hexdigest()


def signature(image: Path) -> str:
    """What changes whenever a study's files change, and is found without reading them; empty if they are gone.

    Parameters
    ----------
    image
        File or folder.
    """
    try:
        found = [(path.name, path.stat()) for path in state_files(image)]
    except OSError:
        return ""
    facts = [(name, item.st_ino, item.st_size, item.st_mtime_ns) for name, item in found]
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogateescape")).hexdigest() if facts else ""
