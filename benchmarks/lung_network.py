"""Which network finds the lungs best for its time: on slabs alone, on slabs with their neighbours, or in 3-D.

    python benchmarks/lung_network.py --material sample-data --material FOLDER --seconds 240

Each network is trained for the same time on the same material, and measured on the same new synthetic studies with
lesions (the lungs in them are known exactly). Beside them: the morphological method. The last column is the time of
the network alone for a volume of 300 slices of 512 x 512 at 1 mm and 0.7 mm. No claim rests on a small difference:
the trainings are short.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from monai.networks.nets import BasicUNet
from torch import Tensor, nn
from torch.nn.functional import interpolate

from covid_bert.lungs import morphological
from covid_bert.networks.segmenter import SliceSegmenter
from covid_bert.segmentation.inference import predict, scale
from covid_bert.synthesis import IGNORE
from covid_bert.training.default_segmenters import RECIPES
from covid_bert.training.material import Material, load_material
from covid_bert.training.segmenter import Schedule, segmentation_loss, train_segmenter
from covid_bert.training.slabs import SlabStudy, SlabTask, WorkingMaterial, make_study
from covid_bert.volumes import NativeGrid, Source, Unit, Volume

FEATURES = (16, 16, 32, 64, 128, 16)
TASK = RECIPES["lungs"].task
CUBE_MILLIMETERS = 3.0
CUBE = (80, 112, 128)
STUDIES = 14
SEED = 7


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--material", type=Path, action="append", required=True)
    options.add_argument("--seconds", type=float, default=240.0, help="of training, for each network")
    chosen = options.parse_args()
    materials = load_material(chosen.material)
    print(f"{'network':24} {'parameters':>11} {'Dice':>7} {'in lesions':>11} {'seconds':>8}")
    for context in (0, 1, 2):
        task = replace(TASK, context=context)
        torch.manual_seed(SEED)
        module: nn.Module = SliceSegmenter(2 * context + 1, 3, FEATURES)
        schedule = Schedule(steps=100_000, batch=8)
        module = train_segmenter(module, materials, task, schedule, seed=SEED, time_limit=chosen.seconds)
        report(
            f"2.5-D, {2 * context + 1} slabs" if context else "2-D",
            module,
            measure_slabs(module, materials, task),
            task,
        )
    task = replace(TASK, pixel=CUBE_MILLIMETERS, thickness=CUBE_MILLIMETERS, context=0)
    torch.manual_seed(SEED)
    module = train_cubes(materials, task, chosen.seconds)
    report("3-D, 3 mm", module, measure_slabs(module, materials, task, whole=True), task, whole=True)
    print(f"{'morphological':24} {'-':>11} {measure_morphological(materials)}")


def new_studies(materials: list[Material], task: SlabTask) -> list[SlabStudy]:
    """The same studies for every network, on its own grid."""
    generator = np.random.default_rng([SEED, 99])
    working = [WorkingMaterial.of(material, task.pixel, around_lungs=False) for material in materials]
    return [make_study(working[number % len(working)], task, generator) for number in range(STUDIES)]


def measure_slabs(
    module: nn.Module, materials: list[Material], task: SlabTask, *, whole: bool = False
) -> tuple[float, float]:
    """Dice of both lungs, and the share of the planted lesions that was taken for lung."""
    both = size = kept = lesion = 0
    for study in new_studies(materials, task):
        found = find(module, study.hounsfield, task, whole=whole)
        truth, planted = study.lungs > 0, (study.lesions == 1) | (study.lesions == 2)
        both += 2 * int((found & truth).sum())
        size += int(found.sum()) + int(truth.sum())
        kept, lesion = kept + int((found & planted).sum()), lesion + int(planted.sum())
    return both / size, kept / max(lesion, 1)


def find(module: nn.Module, hounsfield: np.ndarray, task: SlabTask, *, whole: bool) -> np.ndarray:
    """Lungs in working planes."""
    slabs, rows, columns = hounsfield.shape
    padding = ((0, -slabs % 16 if whole else 0), (0, -rows % 16), (0, -columns % 16))
    planes = scale(np.pad(hounsfield, padding, constant_values=-1024.0), task.window_hu)
    if whole:
        with torch.inference_mode():
            labels = module(torch.from_numpy(planes)[None, None])[0].argmax(0).numpy()
    else:
        labels = predict(module, planes, context=task.context).argmax(0)
    return labels[:slabs, :rows, :columns] > 0


def measure_morphological(materials: list[Material]) -> str:
    """The same for the method without a network."""
    both = size = kept = lesion = 0
    for study in new_studies(materials, TASK):
        truth, planted = study.lungs > 0, (study.lesions == 1) | (study.lesions == 2)
        # The thickness of the slabs is not kept with a study; 2.5 mm is the usual one here.
        found = morphological.segment(as_volume(study.hounsfield, (2.5, TASK.pixel, TASK.pixel))).array > 0
        both += 2 * int((found & truth).sum())
        size += int(found.sum()) + int(truth.sum())
        kept, lesion = kept + int((found & planted).sum()), lesion + int(planted.sum())
    return f"{both / size:7.4f} {kept / max(lesion, 1):11.4f} {'-':>8}"


def as_volume(hounsfield: np.ndarray, spacing: tuple[float, float, float]) -> Volume:
    """A volume in canonical order."""
    affine = np.diag([*spacing[::-1], 1.0])
    native = NativeGrid((hounsfield.shape[2], hounsfield.shape[1], hounsfield.shape[0]), affine)
    return Volume(hounsfield.astype(np.int16), affine, Unit.HOUNSFIELD, Source(Path("trial"), "array"), native)


def train_cubes(materials: list[Material], task: SlabTask, seconds: float) -> nn.Module:
    """Train MONAI's U-Net in 3-D on random parts of synthetic studies of 3 mm voxels."""
    module = BasicUNet(spatial_dims=3, in_channels=1, out_channels=3, features=FEATURES, norm="batch")
    optimizer = torch.optim.AdamW(module.parameters(), 2e-3)
    working = [WorkingMaterial.of(material, task.pixel, around_lungs=False) for material in materials]
    generator = np.random.default_rng(SEED)
    started = time.monotonic()
    studies: list[SlabStudy] = []
    module.train()
    while (elapsed := time.monotonic() - started) < seconds:
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * 0.5 * (1 + np.cos(np.pi * elapsed / seconds))
        studies = [*studies[-20:], make_study(working[int(generator.integers(len(working)))], task, generator)]
        parts = [cube(studies[int(generator.integers(len(studies)))], task, generator) for _ in range(2)]
        images, targets = (torch.stack(values) for values in zip(*parts, strict=True))
        with torch.autocast("cpu", torch.bfloat16):
            logits = module(images)
        # The loss takes slices: depth joins the rows.
        loss = segmentation_loss(logits.float().flatten(2, 3), targets.flatten(1, 2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module.eval()


def cube(study: SlabStudy, task: SlabTask, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A random part, resized to the cube's depth where the study is thinner or thicker."""
    start = int(generator.integers(0, max(1, len(study.hounsfield) - CUBE[0] + 1)))
    image = torch.from_numpy(scale(study.hounsfield[start : start + CUBE[0]], task.window_hu))[None, None]
    lungs, lesions = (labels[start : start + CUBE[0]] for labels in (study.lungs, study.lesions))
    target = np.where((lungs == 0) & (lesions == IGNORE), IGNORE, lungs)
    label = torch.from_numpy(target.astype(np.float32))[None, None]
    image = interpolate(image, size=CUBE, mode="trilinear", align_corners=False)
    return image[0], interpolate(label, size=CUBE, mode="nearest")[0, 0].long()


def report(name: str, module: nn.Module, measured: tuple[float, float], task: SlabTask, *, whole: bool = False) -> None:
    """Print one line."""
    size = [round(millimeters / task.pixel) for millimeters in (358.4, 358.4)]
    planes = np.zeros((round(300.0 / task.thickness), *size), np.float32)
    find(module, planes[:16], task, whole=whole)
    started = time.perf_counter()
    find(module, planes, task, whole=whole)
    seconds = time.perf_counter() - started
    parameters = sum(parameter.numel() for parameter in module.parameters())
    print(f"{name:24} {parameters:11,} {measured[0]:7.4f} {measured[1]:11.4f} {seconds:8.2f}", flush=True)


if __name__ == "__main__":
    main()
