"""Which network finds the lungs best for its time: on slabs alone, on slabs with their neighbours, or in 3-D.

    python benchmarks/lung_network.py --material sample-data --material FOLDER --seconds 240

Each network is trained for the same time with the same loader on the same material, and measured on new synthetic
studies of the same seed (the lungs in them are known exactly), each on its own grid: the slab networks on pixels of
2 mm, the 3-D network on pixels of 3 mm, which are less than half as many. Beside them: the morphological method. The
last column is the time of the network alone for a volume of 300 slices of 512 x 512 at 1 mm and 0.7 mm. No claim
rests on a small difference: the trainings are short.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from monai.networks.nets import BasicUNet
from torch import Tensor, nn
from torch.utils.data import DataLoader

from covid_bert.lungs import morphological
from covid_bert.networks.segmenter import SliceSegmenter
from covid_bert.segmentation.inference import predict, scale
from covid_bert.synthesis import IGNORE
from covid_bert.training.default_segmenters import RECIPES
from covid_bert.training.material import Material, load_material
from covid_bert.training.schedule import Schedule
from covid_bert.training.segmenter import one_thread, segmentation_loss, train_segmenter
from covid_bert.training.slab_augmentation import another_scanner
from covid_bert.training.slabs import SlabBatches, SlabStudy, SlabTask, WorkingMaterial, make_study
from covid_bert.volumes import NativeGrid, Source, Unit, Volume

FEATURES = (16, 16, 32, 64, 128, 16)
TASK = RECIPES["lungs"].task
CUBE_MILLIMETERS = 3.0
# Slabs of the study's own thickness, rows, columns.
CUBE = (48, 112, 128)
CUBES = 2
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
    task = replace(TASK, pixel=CUBE_MILLIMETERS, context=0)
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


class CubeBatches(SlabBatches):
    """The batches of the slab networks as parts of studies: float32 (batch, 1, slabs, rows, columns), and targets."""

    def _sample(self, study: SlabStudy, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        start = int(generator.integers(0, max(1, len(study.hounsfield) - CUBE[0] + 1)))
        part = slice(start, start + CUBE[0])
        target = np.where((study.lungs == 0) & (study.lesions == IGNORE), IGNORE, study.lungs)[part]
        planes = scale(another_scanner(study.hounsfield[part], generator), self.task.window_hu)
        return torch.from_numpy(fitted(planes, -1.0))[None], torch.from_numpy(fitted(target, 0).astype(np.int64))


def fitted(planes: np.ndarray, fill: float) -> np.ndarray:
    """Cut or fill up to the size of a part: in the middle of rows and columns, at the end of the slabs."""
    for axis, size in enumerate(CUBE):
        length = planes.shape[axis]
        before = (length - size) // 2 if axis else 0
        planes = planes.take(np.arange(max(0, before), min(length, max(0, before) + size)), axis)
        missing = size - planes.shape[axis]
        first = missing // 2 if axis else 0
        planes = np.pad(
            planes, [(first, missing - first) if at == axis else (0, 0) for at in range(3)], constant_values=fill
        )
    return planes


def train_cubes(materials: list[Material], task: SlabTask, seconds: float) -> nn.Module:
    """Train MONAI's U-Net in 3-D with the loader, the rates, the loss and the time of `train_segmenter`."""
    with contextlib.redirect_stdout(io.StringIO()):
        module = BasicUNet(spatial_dims=3, in_channels=1, out_channels=3, features=FEATURES, norm="batch")
    schedule = Schedule(steps=100_000, batch=CUBES)
    optimizer = torch.optim.AdamW(module.parameters(), schedule.learning_rate, weight_decay=schedule.weight_decay)
    working = [WorkingMaterial.of(material, task.pixel, around_lungs=False) for material in materials]
    batches = CubeBatches(working, task, seed=SEED, batch=CUBES)
    loader = DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=6, worker_init_fn=one_thread)
    module.train()
    started = time.monotonic()
    for images, targets in loader:
        progress = (time.monotonic() - started) / seconds
        if progress >= 1.0:
            break
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate * schedule.rate(int(progress * schedule.steps))
        with torch.autocast("cpu", torch.bfloat16):
            logits = module(images)
        # The loss takes slices: depth joins the rows.
        loss = segmentation_loss(logits.float().flatten(2, 3), targets.flatten(1, 2))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 5.0)
        optimizer.step()
    return module.eval()


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
