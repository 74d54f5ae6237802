"""Batches of working slabs with planted lesions, made while the network trains.

A pool of synthetic studies is refreshed all the time: after every few batches the oldest study is replaced by a new
one. All that is drawn comes from one seed, so that a run can be repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from covid_bert.segmentation.inference import input_channels, scale
from covid_bert.segmentation.working_grid import AIR_HOUNSFIELD, WorkingGrid
from covid_bert.synthesis import IGNORE, plant_lesions
from covid_bert.training.material import Material
from covid_bert.training.slab_augmentation import another_scanner, cut_off, generous, resample, sampling_matrix

FloatArray = npt.NDArray[np.float32]
Chances = tuple[tuple[str, float], ...]
# Of a sample of another field of view.
CUT_CHANCE = 0.12
# In the making of a sample for lesions: neither lung nor to be ignored.
_BESIDE = 254


@dataclass(frozen=True)
class SlabTask:
    """What a segmenter learns.

    Parameters
    ----------
    name
        Of its weights.
    target
        ``lungs``: 1 right, 2 left; ``lesions``: 1 ground-glass, 2 consolidation, learned inside the lungs only.
    pixel, thickness
        mm of the working grid.
    window_hu
        Of the input.
    context
        Neighbouring slabs on each side.
    crop
        Rows and columns of a training sample.
    patterns
        Patterns of the generator with their chances, which sum to one.
    """

    name: str
    target: str
    pixel: float
    thickness: float
    window_hu: tuple[float, float]
    context: int
    crop: tuple[int, int]
    patterns: Chances

    @property
    def sees_lungs(self) -> bool:
        """Whether the lung mask is an input channel."""
        return self.target == "lesions"


@dataclass(frozen=True, eq=False)
class WorkingMaterial:
    """A `Material` on the working grid in plane, with its own slices."""

    name: str
    hounsfield: npt.NDArray[np.int16]
    lungs: npt.NDArray[np.uint8]
    ignore: npt.NDArray[np.bool_]
    spacing: tuple[float, float, float]

    @classmethod
    def of(cls, material: Material, pixel: float, *, around_lungs: bool) -> WorkingMaterial:
        """Bring a study to a working pixel in mm, the whole field of view or the box around the lungs."""
        lungs = material.lungs
        box = None
        if around_lungs:
            rows, columns = (np.flatnonzero(lungs.any(axis=axes)) for axes in ((0, 2), (0, 1)))
            margin = [int(np.ceil(12.0 / step)) for step in material.spacing[1:]]
            box = (
                (max(0, int(rows[0]) - margin[0]), min(lungs.shape[1], int(rows[-1]) + 1 + margin[0])),
                (max(0, int(columns[0]) - margin[1]), min(lungs.shape[2], int(columns[-1]) + 1 + margin[1])),
            )
        shape = (lungs.shape[0], lungs.shape[1], lungs.shape[2])
        thin = 0.5 * material.spacing[0]
        grid = WorkingGrid.of(shape, material.spacing, pixel=pixel, thickness=thin, box=box)
        sides = np.stack([grid.forward((lungs == side).astype(np.float32), fill=0.0) for side in (1, 2)])
        label = np.where(sides.max(0) >= 0.5, sides.argmax(0) + 1, 0).astype(np.uint8)
        ignore = grid.forward(material.ignore.astype(np.float32), fill=0.0) > 0.01
        hounsfield = np.rint(grid.forward(material.hounsfield)).astype(np.int16)
        return cls(material.name, hounsfield, label, ignore, (material.spacing[0], pixel, pixel))


@dataclass(frozen=True, eq=False)
class SlabStudy:
    """One synthetic study as slabs: HU, lungs and lesions, each (slabs, rows, columns), and the slabs with lung."""

    hounsfield: FloatArray
    lungs: npt.NDArray[np.uint8]
    lesions: npt.NDArray[np.uint8]
    with_lung: npt.NDArray[np.int64]
    with_lesion: npt.NDArray[np.int64]


def make_study(material: WorkingMaterial, task: SlabTask, generator: np.random.Generator) -> SlabStudy:
    """Plant lesions in a study, and average its slices into slabs of a random thickness."""
    names, chances = zip(*task.patterns, strict=True)
    pattern = str(generator.choice(names, p=chances))
    planted = plant_lesions(
        material.hounsfield,
        material.lungs,
        material.spacing,
        pattern=pattern,
        severity=float(generator.uniform(0.05, 1.0)),
        seed=int(generator.integers(2**31)),
    )
    labels = planted.lesions.copy()
    labels[material.ignore] = IGNORE
    # Some scanners give thick slices.
    wanted = task.thickness if generator.random() < 0.5 else generator.uniform(task.thickness, 6.5)
    step = max(1, int(wanted / material.spacing[0] + 0.01))
    return into_slabs(planted.hounsfield, planted.lungs, labels, step)


def into_slabs(
    hounsfield: npt.NDArray[np.int16], lungs: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], step: int
) -> SlabStudy:
    """Average every `step` slices, (slices, rows, columns), of a study and its masks; a rest of slices is left out."""
    count = len(hounsfield) // step
    shape = (count, step, *hounsfield.shape[1:])
    image = hounsfield[: count * step].reshape(shape).mean(axis=1, dtype=np.float32)
    # A mask holds where half of the slices do.
    middle = step // 2
    thick = {
        "lungs": lungs[: count * step].reshape(shape),
        "labels": labels[: count * step].reshape(shape),
    }
    if step == 1:
        lung, lesion = thick["lungs"][:, 0], thick["labels"][:, 0]
    else:
        lung = np.where((thick["lungs"] > 0).mean(axis=1) >= 0.5, thick["lungs"].max(axis=1), 0).astype(np.uint8)
        any_lesion = ((thick["labels"] > 0) & (thick["labels"] != IGNORE)).mean(axis=1) >= 0.5
        central = thick["labels"][:, middle]
        kind = np.where((central > 0) & (central != IGNORE), central, 1)
        lesion = np.where(any_lesion, kind, 0).astype(np.uint8)
        lesion[(thick["labels"] == IGNORE).any(axis=1)] = IGNORE
    with_lung = np.flatnonzero((lung > 0).any(axis=(1, 2)))
    with_lesion = np.flatnonzero(((lesion == 1) | (lesion == 2)).any(axis=(1, 2)))
    return SlabStudy(image, lung, lesion, with_lung, with_lesion)


class SlabBatches(IterableDataset[tuple[Tensor, Tensor]]):
    """Endless batches: inputs float32 (batch, channels, rows, columns), targets int64 (batch, rows, columns).

    Targets are 255 where nothing is to be learned.

    Parameters
    ----------
    materials
        Studies on the working grid of `task`.
    task
        What is learned.
    seed
        Of everything drawn.
    batch
        Samples of a batch.
    pool
        Synthetic studies kept at a time.
    batches_per_study
        Batches after which a study of the pool is replaced.
    shares
        Chance of each of the materials, in proportion; phantoms are a supplement when None.
    """

    def __init__(
        self,
        materials: list[WorkingMaterial],
        task: SlabTask,
        *,
        seed: int,
        batch: int,
        pool: int = 24,
        batches_per_study: int = 3,
        shares: Sequence[float] | None = None,
    ) -> None:
        self.materials = materials
        self.task = task
        self.seed = seed
        self.batch = batch
        self.pool = pool
        self.batches_per_study = batches_per_study
        self.shares = shares or [0.35 if item.name.startswith("phantom") else 1.0 for item in materials]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Make batches for ever."""
        generator = np.random.default_rng([self.seed, 1])
        torch.manual_seed(self.seed)
        studies: list[SlabStudy] = []
        number = 0
        while True:
            if len(studies) < min(self.pool, 6 + number // self.batches_per_study) or (
                number % self.batches_per_study == 0
            ):
                studies.append(self._study(generator))
                del studies[: -self.pool]
            if len(studies) >= 6:
                number += 1
                yield self._batch(studies, generator)

    def _study(self, generator: np.random.Generator) -> SlabStudy:
        weights = np.array(self.shares)
        chosen = self.materials[int(generator.choice(len(self.materials), p=weights / weights.sum()))]
        return make_study(chosen, self.task, generator)

    def _batch(self, studies: list[SlabStudy], generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        samples = [self._sample(studies[int(generator.integers(len(studies)))], generator) for _ in range(self.batch)]
        return torch.stack([image for image, _ in samples]), torch.stack([target for _, target in samples])

    def _sample(self, study: SlabStudy, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        task = self.task
        index = self._slab(study, generator)
        near = np.clip(np.arange(index - task.context, index + task.context + 1), 0, len(study.hounsfield) - 1)
        hounsfield = another_scanner(study.hounsfield[near], generator)
        lungs, lesions = study.lungs[index], study.lesions[index]
        if task.target == "lungs":
            # Fluid beside the lung.
            target = np.where((lungs == 0) & (lesions == IGNORE), IGNORE, lungs).astype(np.int64)
        else:
            # Fluid is left out, too.
            target = np.where((lungs > 0) | (lesions == IGNORE), lesions, _BESIDE).astype(np.int64)
        matrix = sampling_matrix(study.lungs[index], study.lesions[index], task.target, task.crop, generator)
        image = resample(torch.from_numpy(hounsfield), matrix, task.crop, "bilinear", AIR_HOUNSFIELD)
        outside = 0 if task.target == "lungs" else _BESIDE
        labels = resample(torch.from_numpy(target.astype(np.float32))[None], matrix, task.crop, "nearest", outside)[0]
        if task.target == "lungs" and generator.random() < CUT_CHANCE:
            cut_off(image, labels, generator)
        planes = scale(image.numpy(), task.window_hu)
        extra = None
        if task.sees_lungs:
            mask = resample(torch.from_numpy((lungs > 0).astype(np.float32))[None], matrix, task.crop, "bilinear", 0)
            mask = generous(mask, generator)
            # What a generous mask takes in is no lesion; further off, nothing is asked.
            labels = labels.where(labels != _BESIDE, IGNORE * (mask[0] < 0.5).float())
            extra = np.zeros_like(planes)
            extra[task.context] = mask[0].numpy()
        return input_channels(planes, task.context, np.array([task.context]), extra=extra)[0], labels.round().long()

    def _slab(self, study: SlabStudy, generator: np.random.Generator) -> int:
        draw = generator.random()
        if len(study.with_lesion) and draw < 0.6:
            return int(generator.choice(study.with_lesion))
        if self.task.target == "lungs" and draw > 0.85:
            return int(generator.integers(len(study.hounsfield)))
        return int(generator.choice(study.with_lung))
