"""`covid-bert train default`: train the default networks again, on real lungs with planted lesions."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from covid_bert import DEMONSTRATION_MODEL
from covid_bert.errors import WeightsError
from covid_bert.lesions.network import ARCHITECTURE as LESION_ARCHITECTURE
from covid_bert.lesions.network import WEIGHTS_NAME as LESION_WEIGHTS
from covid_bert.networks.devices import choose_device
from covid_bert.segmentation import load_segmenter
from covid_bert.training.default_classifiers import (
    ClassifierTraining,
    check_persons,
    persons_with_both_lungs,
    train_classifiers,
)
from covid_bert.training.default_segmenters import RECIPES, train_default_segmenter
from covid_bert.training.installation import install_classifiers
from covid_bert.training.lesion_evidence import LesionEvidence
from covid_bert.training.material import Material, load_material
from covid_bert.weights.location import home, weights_root
from covid_bert.weights.store import live
from covid_bert.weights.version_folder import InstalledWeights

CLASSIFIERS = "classifiers"
TARGETS = (*RECIPES, CLASSIFIERS)


def train_default(
    folders: list[Path], *, only: str | None, seed: int, device: str, console: Console
) -> list[InstalledWeights]:
    """Train the default networks and make them the live versions.

    Parameters
    ----------
    folders
        Where the training material lies: ``sample-data``, and folders with what docs/synthesis.md names.
    only
        One of `TARGETS`; all when None.
    seed
        Of initialisation and samples.
    device
        For the segmenters; the classifiers are trained on the CPU.
    console
        Told of progress.

    Returns
    -------
    list of InstalledWeights
        What was made.
    """
    choose_device(device)
    console.print("Reading the training material", highlight=False)
    materials = load_material(
        folders,
        lambda name: console.print(f"  {name}", highlight=False),
        lambda name: console.print(f"[yellow]  not found, trained without: {name}[/yellow]", highlight=False),
    )
    if only in {None, CLASSIFIERS}:
        check_persons(persons_with_both_lungs(materials), ClassifierTraining().folds)
    made = []
    for target in TARGETS if only is None else (only,):
        console.print(f"Training: {target}", highlight=False)
        started = time.monotonic()
        if target == CLASSIFIERS:
            made += _train_classifiers(materials, seed, console)
            continue
        weights = train_default_segmenter(
            target, materials, seed=seed, device=device, on_step=_told(console, RECIPES[target].schedule.steps)
        )
        made.append(weights)
        metric = weights.manifest.metrics[0]
        console.print(
            f"  {weights.name} {weights.version}: {metric.measure} {metric.value:.3f} on {metric.data}; "
            f"{(time.monotonic() - started) / 60:.0f} min",
            highlight=False,
        )
    console.print(f"Installed and live in {os.path.relpath(weights_root())}", highlight=False)
    console.print(DEMONSTRATION_MODEL, style="dim")
    return made


def _train_classifiers(materials: list[Material], seed: int, console: Console) -> list[InstalledWeights]:
    """Train the small configurations of the systems on studies as the live lesion network sees them."""
    lesions = live(LESION_WEIGHTS)
    if lesions is None:
        raise WeightsError(
            "There is no lesion network to train classifiers with.",
            "Train it with `covid-bert train default --only lesions`.",
        )
    # A folder for each lesion network: the studies in it hold what that network said.
    folder = home() / "training" / f"studies-{lesions.sha256[:12]}"
    classifiers = train_classifiers(
        materials,
        folder,
        LesionEvidence(load_segmenter(lesions, LESION_ARCHITECTURE, "cpu")),
        seed=seed,
        say=lambda text: console.print(f"  {text}", highlight=False),
    )
    return install_classifiers(classifiers, lesions)


def _told(console: Console, steps: int) -> Callable[[int, float, float], None]:
    def on_step(step: int, loss: float, seconds: float) -> None:
        if step % 100 == 0:
            left = seconds / step * (steps - step)
            console.print(f"  step {step} of {steps}, loss {loss:.3f}, {left / 60:.0f} min left", highlight=False)

    return on_step
