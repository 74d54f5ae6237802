"""Reference studies: phantoms with exact masks and planted lesions, which no label of a site can change.

They come from fixed seeds, and from other persons than any training's. They are made once, each written as soon as it
is made, and kept in the data folder. A label set that is wrong throughout, in its validation set too, is found by them.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from covid_bert import phantom
from covid_bert.errors import WeightsError
from covid_bert.files import write_atomically
from covid_bert.lesions.network import ARCHITECTURE as LESION_ARCHITECTURE
from covid_bert.lesions.network import WEIGHTS_NAME as LESION_WEIGHTS
from covid_bert.phantom import make
from covid_bert.segmentation import load_segmenter
from covid_bert.training.lesion_evidence import LesionEvidence
from covid_bert.training.material import Material
from covid_bert.training.slabs import WorkingMaterial
from covid_bert.training.studies import (
    FINDING_PATTERN,
    PIXEL_MILLIMETERS,
    ClassifierStudy,
    StudyPlan,
    as_volume,
    generator_digest,
    is_kept,
    load_study,
    make_classifier_study,
    save_study,
    study_path,
)
from covid_bert.volumes.volume import Volume
from covid_bert.weights.files import explained
from covid_bert.weights.location import home
from covid_bert.weights.serving import serviceable

# Far from the seeds of all trainings.
LUNG_SEED, CLASSIFIER_SEED = 910_000, 920_000
_LUNG_LESIONS = ("none", "covid-like", "lobar-pneumonia")
_OTHER_PATTERNS = ("none", "bacterial-like", "bronchopneumonia")
# Each phantom once with the finding, as faint and as strong as in training, and once without.
_SEVERITIES = (0.15, 0.9)

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ReferenceSize:
    """How many reference studies there are, and on which grid.

    Parameters
    ----------
    lungs
        Phantoms for the lung network.
    classifiers
        Phantoms for the classifiers; each makes two studies.
    shape
        (slices, rows, columns).
    spacing
        mm along the same axes.
    """

    lungs: int = 8
    classifiers: int = 10
    shape: tuple[int, int, int] = (72, 160, 176)
    spacing: tuple[float, float, float] = (4.0, 2.0, 2.0)


FULL = ReferenceSize()


@dataclass(frozen=True, eq=False)
class LungReference:
    """A phantom and its exact lungs, uint8 on the volume's grid."""

    name: str
    volume: Volume
    lungs: npt.NDArray[np.uint8]


def lung_references(*, size: ReferenceSize | None = None, tell: Tell | None = None) -> list[LungReference]:
    """Make the reference studies of the lung network, or take them up.

    Parameters
    ----------
    size
        `FULL` when None.
    tell
        Told what is under way, how many studies are done, and of how many; may raise to cancel.

    Raises
    ------
    WeightsError
        If they cannot be kept in the data folder.
    """
    size = size or FULL
    references = []
    with explained("keep the reference studies"):
        folder = _folder("lungs", repr(size), _phantom_digest())
        for number in range(size.lungs):
            _say(tell, "reference studies", number, size.lungs)
            path = folder / f"phantom-{number:03d}.npz"
            kept = _kept_phantom(path, size.shape)
            if kept is None:
                made = make(
                    shape=size.shape,
                    spacing=size.spacing,
                    seed=LUNG_SEED + number,
                    lesions=_LUNG_LESIONS[number % len(_LUNG_LESIONS)],
                )
                kept = np.asarray(made.volume.array, np.int16), made.lungs.array
                content = io.BytesIO()
                np.savez_compressed(content, hounsfield=kept[0], lungs=kept[1])
                write_atomically(path, content.getvalue())
            references.append(LungReference(path.stem, as_volume(kept[0], size.spacing), kept[1]))
    return references


def classifier_references(*, size: ReferenceSize | None = None, tell: Tell | None = None) -> list[ClassifierStudy]:
    """Make the reference studies of the classifiers, or take them up; parameters and errors as `lung_references`."""
    size = size or FULL
    lesions = serviceable(LESION_WEIGHTS).weights
    if lesions is None:
        raise WeightsError(
            "No weights of the lesion network are installed, and the classifiers need them.",
            f"Bring them in with `covid-bert weights import FILE --name {LESION_WEIGHTS}`.",
        )
    plans = _plans(size)
    with explained("keep the reference studies"):
        folder = _folder("classifiers", repr(size), _phantom_digest(), generator_digest(), lesions.sha256)
        evidence: LesionEvidence | None = None
        working: tuple[str, WorkingMaterial] | None = None
        for done, plan in enumerate(plans):
            _say(tell, "reference studies", done, len(plans))
            path = study_path(folder, plan)
            if is_kept(path, plan):
                continue
            evidence = evidence or LesionEvidence(load_segmenter(lesions, LESION_ARCHITECTURE, "cpu"))
            if working is None or working[0] != plan.source:
                working = plan.source, _material(plan, size)
            save_study(make_classifier_study(plan, working[1], evidence), path)
        return [load_study(study_path(folder, plan)) for plan in plans]


def _plans(size: ReferenceSize) -> list[StudyPlan]:
    severities = np.linspace(*_SEVERITIES, size.classifiers)
    plans: list[StudyPlan] = []
    for number in range(size.classifiers):
        for finding in (True, False):
            # Faint and strong ones alternate in what is not the finding.
            severity = severities[number if finding else -1 - number]
            plans.append(
                StudyPlan(
                    number=len(plans),
                    source=f"phantom-{CLASSIFIER_SEED + number}",
                    pattern=FINDING_PATTERN if finding else _OTHER_PATTERNS[number % len(_OTHER_PATTERNS)],
                    severity=round(float(severity), 4),
                    seed=CLASSIFIER_SEED + len(plans),
                    thickness=size.spacing[0],
                )
            )
    return plans


def _material(plan: StudyPlan, size: ReferenceSize) -> WorkingMaterial:
    seed = int(plan.source.rpartition("-")[2])
    made = make(shape=size.shape, spacing=size.spacing, seed=seed, lesions="none")
    nothing = np.zeros(made.volume.shape, np.bool_)
    material = Material(plan.source, np.asarray(made.volume.array), made.lungs.array.copy(), nothing, size.spacing)
    return WorkingMaterial.of(material, PIXEL_MILLIMETERS, around_lungs=False)


def _kept_phantom(
    path: Path, shape: tuple[int, int, int]
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]] | None:
    with contextlib.suppress(OSError, ValueError, KeyError, zipfile.BadZipFile), np.load(path) as file:
        hounsfield, lungs = file["hounsfield"], file["lungs"]
        if hounsfield.shape == lungs.shape == shape:
            return hounsfield, lungs
    return None


def _folder(kind: str, *facts: str) -> Path:
    """The folder for studies that were made in this very way; those of another way go."""
    digest = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
    parent = home() / "retraining" / "reference" / kind
    folder = parent / digest
    folder.mkdir(parents=True, exist_ok=True)
    for other in parent.iterdir():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    return folder


def _phantom_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(phantom.__path__[0]).glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _say(tell: Tell | None, what: str, done: int, count: int) -> None:
    if tell is not None:
        tell(what, done, count)
