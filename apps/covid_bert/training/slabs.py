"""Batches of working slabs with planted lesions, made while the network trains.

A pool of synthetic studies is refreshed all the time: after every few batches the oldest study is replaced by a new
one. All that is drawn comes from one seed, so that a run can be repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, max_pool2d
from torch.utils.data import IterableDataset

from covid_bert.segmentation.inference import input_channels, scale
from covid_bert.segmentation.working_grid import AIR_HOUNSFIELD, WorkingGrid
from covid_bert.synthesis import IGNORE, plant_lesions
from covid_bert.training.material import Material

FloatArray = npt.NDArray[np.float32]
# Patterns of the generator with their chances, which sum to one.
PATTERN_CHANCES: tuple[tuple[str, float], ...] = (("covid-like", 0.5), ("bacterial-like", 0.22), ("none", 0.28))


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
    """

    name: str
    target: str
    pixel: float
    thickness: float
    window_hu: tuple[float, float]
    context: int
    crop: tuple[int, int]

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
    def of(cls, material: Material, task: SlabTask) -> WorkingMaterial:
        """Bring a study to the working pixel; for lesions only the box around the lungs is kept."""
        lungs = material.lungs
        box = None
        if task.target == "lesions":
            rows, columns = (np.flatnonzero(lungs.any(axis=axes)) for axes in ((0, 2), (0, 1)))
            margin = [int(np.ceil(12.0 / step)) for step in material.spacing[1:]]
            box = (
                (max(0, int(rows[0]) - margin[0]), min(lungs.shape[1], int(rows[-1]) + 1 + margin[0])),
                (max(0, int(columns[0]) - margin[1]), min(lungs.shape[2], int(columns[-1]) + 1 + margin[1])),
            )
        shape = (lungs.shape[0], lungs.shape[1], lungs.shape[2])
        thin = 0.5 * material.spacing[0]
        grid = WorkingGrid.of(shape, material.spacing, pixel=task.pixel, thickness=thin, box=box)
        sides = np.stack([grid.forward((lungs == side).astype(np.float32), fill=0.0) for side in (1, 2)])
        label = np.where(sides.max(0) >= 0.5, sides.argmax(0) + 1, 0).astype(np.uint8)
        ignore = grid.forward(material.ignore.astype(np.float32), fill=0.0) > 0.01
        hounsfield = np.rint(grid.forward(material.hounsfield)).astype(np.int16)
        return cls(material.name, hounsfield, label, ignore, (material.spacing[0], task.pixel, task.pixel))


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
    names, chances = zip(*PATTERN_CHANCES, strict=True)
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
    ) -> None:
        self.materials = materials
        self.task = task
        self.seed = seed
        self.batch = batch
        self.pool = pool
        self.batches_per_study = batches_per_study

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
        # Phantoms are a supplement.
        weights = np.array([0.35 if item.name.startswith("phantom") else 1.0 for item in self.materials])
        chosen = self.materials[int(generator.choice(len(self.materials), p=weights / weights.sum()))]
        return make_study(chosen, self.task, generator)

    def _batch(self, studies: list[SlabStudy], generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        samples = [self._sample(studies[int(generator.integers(len(studies)))], generator) for _ in range(self.batch)]
        return torch.stack([image for image, _ in samples]), torch.stack([target for _, target in samples])

    def _sample(self, study: SlabStudy, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        task = self.task
        index = self._slab(study, generator)
        near = np.clip(np.arange(index - task.context, index + task.context + 1), 0, len(study.hounsfield) - 1)
        hounsfield = _another_scanner(study.hounsfield[near], generator)
        lungs, lesions = study.lungs[index], study.lesions[index]
        if task.target == "lungs":
            target = lungs.astype(np.int64)
        else:
            target = np.where(lungs > 0, lesions, IGNORE).astype(np.int64)
        matrix = _affine(study, index, task, generator)
        image = _resample(torch.from_numpy(hounsfield), matrix, task.crop, "bilinear", AIR_HOUNSFIELD)
        outside = 0 if task.target == "lungs" else IGNORE
        labels = _resample(torch.from_numpy(target.astype(np.float32))[None], matrix, task.crop, "nearest", outside)[0]
        planes = scale(image.numpy(), task.window_hu)
        extra = None
        if task.sees_lungs:
            mask = _resample(torch.from_numpy((lungs > 0).astype(np.float32))[None], matrix, task.crop, "bilinear", 0)
            grow = int(generator.choice([0, 0, 1, 2]))
            if grow:
                mask = max_pool2d(mask[None], 2 * grow + 1, 1, grow)[0]
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


def _affine(study: SlabStudy, index: int, task: SlabTask, generator: np.random.Generator) -> Tensor:
    """From a sample to the slab, in coordinates of `grid_sample`: scaled, turned, moved, mirrored for lesions."""
    rows, columns = study.hounsfield.shape[1:]
    zoom = float(np.exp(generator.normal(0.0, 0.12)))
    angle = float(generator.normal(0.0, 0.12))
    mirrored = -1.0 if task.target == "lesions" and generator.random() < 0.5 else 1.0
    if task.target == "lesions":
        at = np.argwhere(study.lungs[index] > 0)
        wanted = np.argwhere((study.lesions[index] == 1) | (study.lesions[index] == 2))
        if len(wanted) and generator.random() < 0.6:
            at = wanted
        center = at[generator.integers(len(at))] if len(at) else np.array([rows / 2, columns / 2])
        center = center + generator.normal(0.0, 0.15, 2) * np.array(task.crop)
        # A sample that hangs over the edge would be half empty.
        half = 0.5 * zoom * np.array(task.crop)
        size = np.array([rows, columns])
        center = np.where(2 * half < size, np.clip(center, half, np.maximum(half, size - half)), size / 2)
    else:
        center = np.array([rows / 2, columns / 2]) + generator.normal(0.0, 8.0, 2)
    # Half extents of the sample in the slab's normalised coordinates.
    height, width = zoom * task.crop[0] / rows, zoom * task.crop[1] / columns
    cosine, sine = np.cos(angle), np.sin(angle)
    aspect = rows / columns
    return torch.tensor(
        [
            [mirrored * width * cosine, -height * sine * aspect, 2 * center[1] / columns - 1],
            [mirrored * width * sine / aspect, height * cosine, 2 * center[0] / rows - 1],
        ],
        dtype=torch.float32,
    )


def _resample(planes: Tensor, matrix: Tensor, crop: tuple[int, int], mode: str, outside: float) -> Tensor:
    grid = affine_grid(matrix[None], [1, 1, *crop], align_corners=False)
    # Zero is the only value that `grid_sample` can put outside.
    return grid_sample((planes - outside)[None], grid, mode=mode, align_corners=False)[0] + outside


def _another_scanner(hounsfield: FloatArray, generator: np.random.Generator) -> FloatArray:
    """Change values as other scanners, kernels and file formats do."""
    values = hounsfield * np.float32(generator.normal(1.0, 0.02)) + np.float32(generator.normal(0.0, 14.0))
    if generator.random() < 0.25:
        # Volumes that were 8-bit images once: few steps, and nothing above soft tissue.
        step = np.float32(generator.uniform(4.0, 10.0))
        values = np.minimum(np.rint(values / step) * step, np.float32(generator.uniform(120.0, 300.0)))
    if generator.random() < 0.25:
        values = values + generator.standard_normal(values.shape, dtype=np.float32) * np.float32(
            generator.uniform(3.0, 35.0)
        )
    return values.astype(np.float32)
