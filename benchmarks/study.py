"""Seconds and peak memory by stage for a study of 300 slices, beside the published network's plain forward pass.

    python benchmarks/study.py [--slices 300] [--side 512] [--system s2] [--repeat 3]

The study is a synthetic chest CT written as a DICOM series. All timings are of one run on one machine, which is named;
only their ratios can be compared between machines.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from covid_bert.commands.manifest import machine, versions
from covid_bert.networks.architectures import ARCHITECTURES
from covid_bert.networks.classifiers import ClipNetwork
from covid_bert.networks.fusion import fuse_batch_norms
from covid_bert.phantom import make, write_dicom
from covid_bert.progress import Progress
from covid_bert.systems import create
from covid_bert.volumes import read


@dataclass
class Stage:
    """One stage of the run: wall seconds and the process's peak memory while it ran."""

    name: str
    seconds: float
    peak_gibibytes: float


@contextmanager
def measured(name: str, stages: list[Stage]) -> Iterator[None]:
    """Append the enclosed block to `stages`."""
    reset_peak()
    start = time.perf_counter()
    yield
    stages.append(Stage(name, time.perf_counter() - start, peak_gibibytes()))


def reset_peak() -> None:
    """Make the kernel forget the peak memory so far (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_gibibytes() -> float:
    """Peak resident memory of this process since `reset_peak`, in GiB (Linux)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**20


def lively(network: ClipNetwork) -> ClipNetwork:
    """Give all batch norms non-trivial values, so that differences of precision can show in the output."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.weight.data = 1 + 0.1 * torch.randn(module.weight.shape, generator=generator)
            module.running_mean.data = 0.1 * torch.randn(module.weight.shape, generator=generator)
    return network


def seconds_of(network: ClipNetwork, clip: torch.Tensor, repeat: int) -> tuple[float, torch.Tensor]:
    """Median seconds of a forward pass after one that does not count, and its logits."""
    times = []
    with torch.no_grad():
        for _ in range(repeat + 1):
            start = time.perf_counter()
            logits = network.pool(network.trunk(clip)).logits
            times.append(time.perf_counter() - start)
    return statistics.median(times[1:]), logits


def compare_precision(repeat: int) -> float:
    """Time one clip in plain single precision and on the faster paths; return the former's seconds."""
    torch.manual_seed(0)
    network = lively(ARCHITECTURES["r2plus1d34-bert"]().eval())  # type: ignore[arg-type]
    clip = torch.randn(1, 3, 32, 224, 224)
    plain, reference = seconds_of(network, clip, repeat)
    rows = [("single precision, plain", plain, reference)]
    fuse_batch_norms(network.trunk)
    rows.append(("single precision, batch norms folded", *seconds_of(network, clip, repeat)))
    network.trunk.to(dtype=torch.bfloat16, memory_format=torch.channels_last_3d)
    fast_clip = clip.bfloat16().contiguous(memory_format=torch.channels_last_3d)
    rows.append(("bfloat16, channels last, folded", *seconds_of(network, fast_clip, repeat)))
    print(f"\nOne clip of 32x224x224 through the published network, median of {repeat} (random weights)")
    print(f"  {'path':<38}{'seconds':>8}{'ratio':>7}   largest difference in a logit, in a score")
    for name, seconds, logits in rows:
        in_logit = float((logits - reference).abs().max())
        in_score = float((logits.softmax(1) - reference.softmax(1)).abs().max())
        print(f"  {name:<38}{seconds:8.2f}{seconds / plain:7.2f}   {in_logit:.1e}, {in_score:.1e}")
    return plain


def run_study(system_name: str, configuration: str, slices: int, side: int) -> tuple[list[Stage], int]:
    """Read and classify one synthetic study; return its stages and the number of clips."""
    stages: list[Stage] = []
    with tempfile.TemporaryDirectory() as folder:
        spacing = (300.0 / slices, 350.0 / side, 350.0 / side)
        write_dicom(make(shape=(slices, side, side), spacing=spacing, lesions="covid-like"), Path(folder))
        system = create(system_name, configuration)
        with measured("reading", stages):
            volume = read(folder)
    progress = Progress(
        lambda stage, fraction: reset_peak() if fraction == 0.0 else peaks.update({stage: peak_gibibytes()})
    )
    peaks: dict[str, float] = {}
    classification = system.classify(volume, progress=progress)
    stages += [Stage(name, seconds, peaks[name]) for name, seconds in progress.seconds.items()]
    return stages, len(classification.result.windows)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--system", default="s2")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    description = machine()
    graphics = ", ".join(description["graphics"]) or "no GPU"
    print(f"{description['processor']}, {description['threads']} threads, {graphics}")
    print(", ".join(f"{name} {version}" for name, version in versions().items()))
    plain = compare_precision(arguments.repeat)
    for configuration in ("corrected", "small"):
        report(arguments, configuration, plain)


def report(arguments: argparse.Namespace, configuration: str, plain: float) -> None:
    """Run one configuration and print its stages beside the published network's forward passes for as many clips."""
    stages, clips = run_study(arguments.system, configuration, arguments.slices, arguments.side)
    size = f"{arguments.slices} slices of {arguments.side}x{arguments.side}"
    print(f"\nSystem {arguments.system} ({configuration}), {size}, {clips} clips")
    print(f"  {'stage':<12}{'seconds':>9}{'peak GiB':>10}   ratio to {clips} plain forward passes")
    for stage in stages:
        print(
            f"  {stage.name:<12}{stage.seconds:9.2f}{stage.peak_gibibytes:10.2f}{stage.seconds / (plain * clips):8.2f}"
        )
    total = sum(stage.seconds for stage in stages)
    peak = max(stage.peak_gibibytes for stage in stages)
    print(f"  {'all':<12}{total:9.2f}{peak:10.2f}{total / (plain * clips):8.2f}")


if __name__ == "__main__":
    main()
