"""Training of the default lung and lesion networks: the tasks, the schedules, and what is written into the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from covid_bert.lesions import network as lesion_network
from covid_bert.lungs import unet as lung_network
from covid_bert.networks.architectures import ARCHITECTURES
from covid_bert.training.material import SOURCES, Material
from covid_bert.training.schedule import Schedule
from covid_bert.training.segmenter import train_segmenter
from covid_bert.training.slabs import SlabTask
from covid_bert.training.validation import Validation, validate_segmenter
from covid_bert.weights.installing import add_version
from covid_bert.weights.manifest import Provenance
from covid_bert.weights.registry import InputContract, Metric, OperatingPoint, Role
from covid_bert.weights.store import InstalledWeights, publish

LICENCE = "Apache-2.0; training images: CC BY 3.0, CC BY 4.0, BSD-3-Clause, Apache-2.0"
VALIDATION_SEED = 100


@dataclass(frozen=True)
class SegmenterRecipe:
    """All that decides how a segmenter comes out.

    Parameters
    ----------
    task
        What it learns.
    architecture
        Key of `ARCHITECTURES`.
    role
        In the store.
    schedule
        Steps and batch.
    validation_studies
        Synthetic studies that it is measured on afterwards.
    """

    task: SlabTask
    architecture: str
    role: Role
    schedule: Schedule
    validation_studies: int = 30


RECIPES = {
    "lungs": SegmenterRecipe(
        SlabTask(
            name=lung_network.WEIGHTS_NAME,
            target="lungs",
            pixel=lung_network.PIXEL_MILLIMETERS,
            thickness=lung_network.SLAB_MILLIMETERS,
            window_hu=(-1024.0, 400.0),
            context=lung_network.CONTEXT,
            crop=(192, 224),
            patterns=(("covid-like", 0.25), ("bacterial-like", 0.12), ("consolidation", 0.38), ("none", 0.25)),
        ),
        lung_network.ARCHITECTURE,
        Role.LUNGS,
        Schedule(steps=3200, batch=8),
    ),
    "lesions": SegmenterRecipe(
        SlabTask(
            name=lesion_network.WEIGHTS_NAME,
            target="lesions",
            pixel=lesion_network.PIXEL_MILLIMETERS,
            thickness=lesion_network.SLAB_MILLIMETERS,
            window_hu=(-1000.0, 200.0),
            context=lesion_network.CONTEXT,
            crop=(160, 160),
            patterns=(
                ("covid-like", 0.4),
                ("bacterial-like", 0.14),
                ("bronchopneumonia", 0.16),
                ("consolidation", 0.09),
                ("none", 0.21),
            ),
        ),
        lesion_network.ARCHITECTURE,
        Role.LESIONS,
        Schedule(steps=2000, batch=12),
    ),
}


def train_default_segmenter(
    target: str,
    materials: list[Material],
    *,
    seed: int = 0,
    device: str = "cpu",
    schedule: Schedule | None = None,
    on_step: Callable[[int, float, float], None] | None = None,
) -> InstalledWeights:
    """Train ``lungs`` or ``lesions``, measure it on new synthetic studies, and make it the live version.

    Parameters
    ----------
    target
        A key of `RECIPES`.
    materials
        See `covid_bert.training.material.load_material`.
    seed
        Of initialisation and samples.
    device
        Torch device.
    schedule
        Instead of the recipe's, for trials.
    on_step
        See `train_segmenter`.
    """
    recipe = RECIPES[target]
    schedule = schedule or recipe.schedule
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = ARCHITECTURES[recipe.architecture]()
        module = train_segmenter(module, materials, recipe.task, schedule, seed=seed, device=device, on_step=on_step)
    measured = validate_segmenter(
        module, materials, recipe.task, seed=seed + VALIDATION_SEED, studies=recipe.validation_studies
    )
    weights = add_version(recipe.task.name, module.state_dict(), _provenance(recipe, schedule, materials, measured))
    return publish(weights.name, weights.version)


def _provenance(
    recipe: SegmenterRecipe, schedule: Schedule, materials: list[Material], measured: Validation
) -> Provenance:
    names = {material.name for material in materials}
    real = [f"{source.name} ({source.origin})" for source in SOURCES if source.name in names]
    patterns = ", ".join(name for name, _ in recipe.task.patterns if name != "none")
    thresholded = recipe.task.target == "lesions"
    threshold = measured.best_threshold if thresholded else 0.5
    return Provenance(
        architecture=recipe.architecture,
        role=recipe.role,
        trained_on=(
            f"{len(real)} real chest CT without pneumonia, with planted lesions ({patterns}): {'; '.join(real)}; "
            f"{len(names) - len(real)} phantoms; {schedule.steps} steps of {schedule.batch} slabs. No patient label."
        ),
        licence=LICENCE,
        source="trained by `covid-bert train default`",
        demonstration=True,
        input=InputContract(
            window_hu=recipe.task.window_hu,
            window_note=f"working pixels of {recipe.task.pixel} mm, slabs of {recipe.task.thickness} mm",
            channels=(*_slab_names(recipe.task.context), *(("lungs",) if recipe.task.sees_lungs else ())),
        ),
        operating_point=OperatingPoint(
            positive_class="lesion",
            threshold=threshold,
            chosen_by=f"the best Dice on {measured.studies} synthetic studies that were not trained on",
        )
        if thresholded
        else None,
        metrics=(
            Metric(
                data=f"{measured.studies} synthetic studies that were not trained on, made from the same lungs",
                measure="Dice of any lesion" if thresholded else "Dice of both lungs",
                value=round(measured.dice_by_threshold[threshold], 4),
                note="says how well the network learned the generator, not how well it does on patients",
            ),
        ),
    )


def _slab_names(context: int) -> list[str]:
    """Names of the slabs that a network sees, foot to head."""
    return [f"slab {offset:+d}" if offset else "slab" for offset in range(-context, context + 1)]
