"""How well a segmenter does on synthetic studies that it was not trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn

from covid_bert.segmentation.inference import predict, scale
from covid_bert.synthesis import IGNORE
from covid_bert.training.material import Material
from covid_bert.training.slabs import SlabStudy, SlabTask, WorkingMaterial, make_study

THRESHOLDS = tuple(round(0.2 + 0.05 * step, 2) for step in range(13))


@dataclass(frozen=True)
class Validation:
    """Dice on synthetic studies.

    Parameters
    ----------
    studies
        How many.
    dice_by_threshold
        Over all voxels of all studies, by the least probability that counts as found.
    """

    studies: int
    dice_by_threshold: dict[float, float]

    @property
    def best_threshold(self) -> float:
        """The threshold with the highest Dice; of equal ones the lowest."""
        return max(self.dice_by_threshold, key=lambda threshold: (self.dice_by_threshold[threshold], -threshold))


def validate_segmenter(
    module: nn.Module, materials: list[Material], task: SlabTask, *, seed: int, studies: int
) -> Validation:
    """Measure Dice of any lesion, or of both lungs, on new synthetic studies.

    Parameters
    ----------
    module
        In evaluation mode, on the CPU.
    materials
        What the studies are made from.
    task
        What the module does.
    seed
        Of the studies; another one than that of training.
    studies
        How many to make.
    """
    working = [WorkingMaterial.of(material, task.pixel, around_lungs=task.sees_lungs) for material in materials]
    generator = np.random.default_rng([seed, 2])
    both = np.zeros(len(THRESHOLDS))
    sizes = np.zeros(len(THRESHOLDS))
    for number in range(studies):
        study = make_study(working[number % len(working)], task, generator)
        probability, truth, valid = _predicted(module, study, task)
        for place, threshold in enumerate(THRESHOLDS):
            found = (probability >= threshold) & valid
            both[place] += 2 * int((found & truth).sum())
            sizes[place] += int(found.sum()) + int((truth & valid).sum())
    dice = np.where(sizes > 0, both / np.maximum(sizes, 1), 1.0)
    return Validation(studies, {threshold: float(value) for threshold, value in zip(THRESHOLDS, dice, strict=True)})


def _predicted(module: nn.Module, study: SlabStudy, task: SlabTask) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows, columns = study.hounsfield.shape[1:]
    padding = ((0, 0), (0, -rows % 16), (0, -columns % 16))
    planes = scale(np.pad(study.hounsfield, padding, constant_values=-1024.0), task.window_hu)
    lungs = study.lungs > 0
    extra = np.pad(lungs.astype(np.float32), padding) if task.sees_lungs else None
    found = 1.0 - predict(module, planes, context=task.context, extra=extra)[0, :, :rows, :columns]
    if task.target == "lungs":
        # Fluid beside the lung is neither.
        return found, lungs, lungs | (study.lesions != IGNORE)
    return found, (study.lesions == 1) | (study.lesions == 2), lungs & (study.lesions != IGNORE)
