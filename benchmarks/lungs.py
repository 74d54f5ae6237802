"""Lung masks: how close to reference masks, how fast, and how much memory.

    python benchmarks/lungs.py --masks FOLDER
    python benchmarks/lungs.py --speed
    python benchmarks/lungs.py --speed --volume STUDY

``--masks`` walks a folder for CT volumes with a reference mask beside them and prints Dice and seconds. Pairs share
the stem: ``X_ct`` or ``X`` with ``X_lung``, ``X_lungs``, ``X_mask`` or ``X_lobes``. A mask of labels 1 and 2 is taken
for right and left, lobes of labels 1 to 5 for left upper, left lower, right upper, right middle, right lower.

``--speed`` times a volume of 300 slices of 512 x 512 (a phantom, or the study given, resampled) beside a plain
scikit-image version of the same idea on the full grid, and beside the forward pass of R231's network.
"""

from __future__ import annotations

import argparse
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from covid_bert import phantom
from covid_bert.lungs import LEFT_LUNG, RIGHT_LUNG, segment_lungs
from covid_bert.lungs.unet import default_segmenter
from covid_bert.volumes import NativeGrid, Volume, read
from covid_bert.volumes.mask_files import read_mask
from plain_lungs import plain_lungs

SUFFIXES = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd")
MASK_ENDINGS = ("_lung", "_lungs", "_mask", "_lobes")
LOBES = {1: LEFT_LUNG, 2: LEFT_LUNG, 3: RIGHT_LUNG, 4: RIGHT_LUNG, 5: RIGHT_LUNG}
SIZE = (300, 512, 512)
FORWARD_SLICES = 4


def compare_with_references(folder: Path) -> None:
    """Print Dice and seconds for every CT volume in `folder` that has a reference mask."""
    pairs = list(find_pairs(folder))
    print(f"\n{len(pairs)} volumes with a reference mask")
    print(f"{'volume':36} {'Dice':>7} {'right':>7} {'left':>7} {'plain':>7} {'seconds':>8}")
    for ct_path, mask_path in pairs:
        volume = read(ct_path)
        start = time.perf_counter()
        lungs = segment_lungs(volume, "morphological")
        seconds = time.perf_counter() - start
        reference = read_mask(mask_path, volume)
        whole = dice(lungs.array > 0, reference > 0)
        sides = [
            f"{dice(lungs.array == side, with_sides == side):7.4f}" if with_sides is not None else f"{'-':>7}"
            for with_sides in [reference_sides(reference)]
            for side in (RIGHT_LUNG, LEFT_LUNG)
        ]
        plain = dice(plain_lungs(volume.array, volume.spacing), reference > 0)
        print(f"{ct_path.name:36} {whole:7.4f} {sides[0]} {sides[1]} {plain:7.4f} {seconds:8.2f}")


def find_pairs(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield (CT volume, reference mask) for files that share a stem."""
    files = {path: stem(path) for path in sorted(folder.rglob("*")) if stem(path)}
    for mask_path, mask_stem in files.items():
        ending = next((ending for ending in MASK_ENDINGS if mask_stem.endswith(ending)), None)
        if ending is None:
            continue
        base = mask_stem.removesuffix(ending)
        for path, ct_stem in files.items():
            if path.parent == mask_path.parent and ct_stem in {base, f"{base}_ct"}:
                yield path, mask_path


def stem(path: Path) -> str:
    """Name without the ending of an image file; empty for other files."""
    return next((path.name.removesuffix(suffix) for suffix in SUFFIXES if path.name.endswith(suffix)), "")


def reference_sides(reference: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8] | None:
    """Labels 1 right and 2 left of a reference, or None if it has no sides."""
    labels = set(np.unique(reference).tolist()) - {0}
    if labels == {RIGHT_LUNG, LEFT_LUNG}:
        return reference
    if labels == set(LOBES):
        table = np.zeros(256, np.uint8)
        table[list(LOBES)] = list(LOBES.values())
        return table[reference]
    return None


def dice(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    total = np.count_nonzero(one) + np.count_nonzero(other)
    return 2.0 * np.count_nonzero(one & other) / total if total else 1.0


def compare_speed(path: Path | None) -> None:
    """Print seconds, peak memory and ratios of three ways to lungs, in one run."""
    volume = _full_size(read(path) if path else phantom.make(shape=(75, 256, 256), spacing=(4.0, 1.4, 1.4)).volume)
    voxels = " x ".join(map(str, volume.shape))
    print(f"\n{voxels}, {volume.array.nbytes / 2**20:.0f} MiB, {volume.array.dtype}")
    own, own_memory = _measured(lambda: segment_lungs(volume, "morphological"))
    loading, _ = _measured(default_segmenter)
    network, network_memory = _measured(lambda: segment_lungs(volume, "unet"))
    plain, plain_memory = _measured(lambda: plain_lungs(volume.array, volume.spacing))
    forward = _r231_forward_seconds() * volume.shape[0]
    print(f"{'way':44} {'seconds':>8} {'x ours':>7} {'peak MiB beyond the volume':>27}")
    print(f"{'covid_bert morphological (right, left)':44} {own:8.1f} {1.0:7.1f} {own_memory:27.0f}")
    print(f"{'covid_bert unet (shipped weights)':44} {network:8.1f} {network / own:7.1f} {network_memory:27.0f}")
    print(f"{'plain scikit-image on the full grid':44} {plain:8.1f} {plain / own:7.1f} {plain_memory:27.0f}")
    print(f"{'R231, forward pass alone (random weights) *':44} {forward:8.1f} {forward / own:7.1f} {'-':>27}")
    print(
        f"* {FORWARD_SLICES} slices of 256 x 256 were timed and multiplied; its pre- and postprocessing comes on top."
    )
    print(f"Loading torch and the shipped network, once in a process, took {loading:.1f} s more.")


def _full_size(volume: Volume) -> Volume:
    """Repeat slices, rows and columns until the volume has the size that is timed."""
    indices = [np.arange(wanted) * size // wanted for wanted, size in zip(SIZE, volume.shape, strict=True)]
    scale = [size / wanted for wanted, size in zip(SIZE, volume.shape, strict=True)]
    affine = volume.affine @ np.diag([scale[2], scale[1], scale[0], 1.0])
    array = np.ascontiguousarray(volume.array[np.ix_(*indices)])
    return replace(volume, array=array, affine=affine, native=NativeGrid((SIZE[2], SIZE[1], SIZE[0]), affine))


def _r231_forward_seconds() -> float:
    """Seconds that R231's network takes for one slice."""
    import torch
    from lungmask.resunet import UNet

    network = UNet(n_classes=3, padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False).eval()
    slices = torch.rand(FORWARD_SLICES, 1, 256, 256)
    with torch.inference_mode():
        network(slices[:1])
        start = time.perf_counter()
        network(slices)
        return (time.perf_counter() - start) / FORWARD_SLICES


def _measured(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and the most memory in MiB that the process held beyond what it held before."""
    before, peak, done = _resident_mebibytes(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            peak[0] = max(peak[0], _resident_mebibytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    return seconds, peak[0] - before


def _resident_mebibytes() -> float:
    """Resident memory of this process, from Linux's own account; not a number elsewhere."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return float("nan")
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _machine() -> str:
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--masks", type=Path, help="folder with CT volumes and reference masks")
    parser.add_argument("--speed", action="store_true", help="time 512 x 512 x 300 against two alternatives")
    parser.add_argument("--volume", type=Path, help="study to time instead of a phantom")
    arguments = parser.parse_args()
    if arguments.masks is None and not arguments.speed:
        parser.error("give --masks FOLDER or --speed")
    print(f"machine: {_machine()}")
    if arguments.masks is not None:
        compare_with_references(arguments.masks)
    if arguments.speed:
        compare_speed(arguments.volume)


if __name__ == "__main__":
    main()
