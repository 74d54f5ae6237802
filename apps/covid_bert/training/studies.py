"""Synthetic studies that the classifiers learn from: real lungs with planted patterns, as the networks see them.

Each study is made once and kept in a folder, so that a run that was cut short goes on where it stopped.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from covid_bert import clips, synthesis
from covid_bert.clips.sampling import slices_in_step, thinned
from covid_bert.clips.stack import Channels, ClipStack
from covid_bert.files import write_atomically
from covid_bert.lungs.mask import LungMask
from covid_bert.lungs.selection import open_lung_slices
from covid_bert.networks.classifiers import CLASS_NAMES
from covid_bert.synthesis import IGNORE, plant_lesions
from covid_bert.systems.configuration import SMALL_INPUT_SIDE, SMALL_STACK_SIDE, SMALL_STEP
from covid_bert.systems.likeness import LARGEST_SLICE_STEP
from covid_bert.training import slabs as slab_making
from covid_bert.training.code_digest import digest_of_code
from covid_bert.training.material import Material
from covid_bert.training.slabs import Chances, WorkingMaterial, into_slabs
from covid_bert.volumes import NativeGrid, Source, Unit, Volume
from covid_bert.volumes.windows import LUNG_WINDOW

FINDING_PATTERN = "covid-like"
COVID, OTHER = CLASS_NAMES.index("covid"), CLASS_NAMES.index("non-covid")
SEVERITIES = (0.05, 1.0)
# Chances of the generator's patterns; they sum to one.
PATTERNS: Chances = (("covid-like", 0.5), ("bacterial-like", 0.16), ("bronchopneumonia", 0.08), ("none", 0.26))
PIXEL_MILLIMETERS = 1.4


class LesionProbability(Protocol):
    """The lesion network, or what stands for it; must be able to travel to another process."""

    def __call__(
        self, hounsfield: npt.NDArray[np.int16], lungs: npt.NDArray[np.uint8], spacing: tuple[float, float, float]
    ) -> npt.NDArray[np.uint8]:
        """Probability of any lesion, 0 ... 255, on the grid of (slices, rows, columns); 0 outside the lungs."""


@dataclass(frozen=True)
class StudyPlan:
    """What is drawn of a study before it is made.

    Parameters
    ----------
    number
        Of the study.
    source
        Name of the `Material`: the real person.
    pattern, severity, seed
        See `covid_bert.synthesis.plant_lesions`.
    thickness
        mm; slices are averaged up to it.
    """

    number: int
    source: str
    pattern: str
    severity: float
    seed: int
    thickness: float


@dataclass(frozen=True, eq=False)
class ClassifierStudy:
    """A study as the networks see it.

    Parameters
    ----------
    plan
        How it was made.
    label
        Index into `CLASS_NAMES`.
    channels
        uint8 (kept slices, 3, side, side), see `ClipStack`.
    lesion_share
        float32 (kept slices): share of the lungs that holds planted lesions.
    recipe
        All that was planted.
    """

    plan: StudyPlan
    label: int
    channels: npt.NDArray[np.uint8]
    lesion_share: npt.NDArray[np.float32]
    recipe: dict[str, Any]

    @property
    def source(self) -> str:
        """The real person, or the phantom."""
        return self.plan.source

    @property
    def stack(self) -> ClipStack:
        """The slices, ready to be cut into clips."""
        return ClipStack(torch.from_numpy(self.channels), np.arange(len(self.channels)))


def plan_studies(sources: list[str], count: int, seed: int) -> list[StudyPlan]:
    """Draw `count` studies: each source equally often, patterns by `PATTERNS`, severities evenly spread."""
    generator = np.random.default_rng([seed, 2])
    names, chances = zip(*PATTERNS, strict=True)
    plans = []
    for number in range(count):
        thick = generator.random() < 0.5
        plans.append(
            StudyPlan(
                number=number,
                source=sources[number % len(sources)],
                pattern=str(generator.choice(names, p=chances)),
                severity=round(float(generator.uniform(*SEVERITIES)), 4),
                seed=int(generator.integers(2**31)),
                thickness=round(float(generator.uniform(SMALL_STEP, LARGEST_SLICE_STEP)), 3) if thick else SMALL_STEP,
            )
        )
    return plans


def make_classifier_study(
    plan: StudyPlan, material: WorkingMaterial, lesion_probability: LesionProbability
) -> ClassifierStudy:
    """Plant, average to slabs, find the lesions, choose slices and compose channels as the small configurations do."""
    planted = plant_lesions(
        material.hounsfield,
        material.lungs,
        material.spacing,
        pattern=plan.pattern,
        severity=plan.severity,
        seed=plan.seed,
    )
    labels = planted.lesions.copy()
    labels[material.ignore] = IGNORE
    step = slices_in_step(material.spacing[0], plan.thickness)
    slabs = into_slabs(planted.hounsfield, planted.lungs, labels, step)
    spacing = (material.spacing[0] * step, *material.spacing[1:])
    hounsfield = np.rint(slabs.hounsfield).astype(np.int16)
    lungs = LungMask(slabs.lungs, "given")
    indices = thinned(open_lung_slices(lungs, rule="corrected"), spacing[0], SMALL_STEP)
    stack = ClipStack.prepare(
        as_volume(hounsfield, spacing),
        lungs,
        indices,
        window=LUNG_WINDOW,
        side=SMALL_STACK_SIDE,
        channels=Channels.RPL,
        lesion_probability=lesion_probability(hounsfield, slabs.lungs, spacing),
        seen_share=SMALL_INPUT_SIDE / SMALL_STACK_SIDE,
    )
    lesions = (slabs.lesions[indices] > 0) & (slabs.lesions[indices] != IGNORE)
    share = lesions.sum((1, 2)) / np.maximum((slabs.lungs[indices] > 0).sum((1, 2)), 1)
    # A pattern that left nothing in the kept slices cannot be found in them.
    label = COVID if plan.pattern == FINDING_PATTERN and lesions.any() else OTHER
    return ClassifierStudy(plan, label, stack.channels.numpy(), share.astype(np.float32), planted.recipe)


def make_studies(
    materials: list[Material],
    folder: Path,
    lesion_probability: LesionProbability,
    *,
    count: int,
    seed: int,
    workers: int = 2,
    on_study: Callable[[int], None] | None = None,
) -> list[ClassifierStudy]:
    """Make studies in parallel, or take up those that lie in a folder already.

    Parameters
    ----------
    materials
        Real studies and phantoms.
    folder
        Holds one file for each study; files that another version of the generator made are made again. Give another
        folder for another lesion network: it is not looked at.
    lesion_probability
        Fills the channel of lesion evidence.
    count, seed
        See `plan_studies`.
    workers
        Processes with one thread each; 0 works in this one.
    on_study
        Told how many studies are there; may raise to cancel.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plans = plan_studies([material.name for material in materials], count, seed)
    missing = [plan for plan in plans if not is_kept(study_path(folder, plan), plan)]
    if missing:
        working = {
            material.name: WorkingMaterial.of(material, PIXEL_MILLIMETERS, around_lungs=False) for material in materials
        }
        maker = _StudyMaker(missing, working, lesion_probability, folder)
        for number, _ in enumerate(DataLoader(maker, batch_size=None, num_workers=workers)):
            if on_study is not None:
                on_study(count - len(missing) + number + 1)
    return [load_study(study_path(folder, plan)) for plan in plans]


@cache
def generator_digest() -> str:
    """SHA-256 of the code that makes a study of a plan."""
    return digest_of_code(synthesis, clips, sys.modules[__name__], slab_making)


def save_study(study: ClassifierStudy, path: Path) -> None:
    """Write one study, wholly or not at all."""
    content = io.BytesIO()
    facts = {
        "generator": generator_digest(),
        "plan": asdict(study.plan),
        "label": study.label,
        "recipe": study.recipe,
    }
    np.savez_compressed(
        content, channels=study.channels, lesion_share=study.lesion_share, facts=np.array(json.dumps(facts))
    )
    write_atomically(path, content.getvalue())


def load_study(path: Path) -> ClassifierStudy:
    """Read what `save_study` wrote."""
    with np.load(path, allow_pickle=False) as file:
        facts = json.loads(str(file["facts"]))
        plan = StudyPlan(**facts["plan"])
        return ClassifierStudy(plan, facts["label"], file["channels"], file["lesion_share"], facts["recipe"])


class _StudyMaker(Dataset[int]):
    """Makes and keeps one study for each index, so that a `DataLoader` spreads the work over processes."""

    def __init__(
        self,
        plans: list[StudyPlan],
        materials: dict[str, WorkingMaterial],
        lesion_probability: LesionProbability,
        folder: Path,
    ) -> None:
        self.plans = plans
        self.materials = materials
        self.lesion_probability = lesion_probability
        self.folder = folder

    def __len__(self) -> int:
        return len(self.plans)

    def __getitem__(self, index: int) -> int:
        if not 0 <= index < len(self.plans):
            raise IndexError(index)
        plan = self.plans[index]
        study = make_classifier_study(plan, self.materials[plan.source], self.lesion_probability)
        save_study(study, study_path(self.folder, plan))
        return plan.number


def study_path(folder: Path, plan: StudyPlan) -> Path:
    """Where the study of a plan is kept."""
    return folder / f"study-{plan.number:05d}.npz"


def is_kept(path: Path, plan: StudyPlan) -> bool:
    """Whether the study of this very plan, made by this very code, lies there whole."""
    try:
        with np.load(path, allow_pickle=False) as file:
            facts = json.loads(str(file["facts"]))
            # Reading checks the sum of each array.
            whole = len(file["channels"]) == len(file["lesion_share"])
        return bool(whole and facts["generator"] == generator_digest() and StudyPlan(**facts["plan"]) == plan)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return False


def as_volume(hounsfield: npt.NDArray[np.int16], spacing: tuple[float, float, float]) -> Volume:
    """Make a volume in canonical order of an array that was made here; spacing in mm."""
    affine = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
    slices, rows, columns = hounsfield.shape
    grid = NativeGrid((columns, rows, slices), affine)
    return Volume(hounsfield, affine, Unit.HOUNSFIELD, Source(Path("made"), "synthetic"), grid)
