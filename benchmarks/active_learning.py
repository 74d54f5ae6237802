"""How many labels each strategy needs to reach a target, beside random choice.

    python benchmarks/active_learning.py --data FOLDER --cache FOLDER

A simulated team labels one item after the other; heads on embeddings that were computed once are fitted anew after each
label, and measured on items that are never labelled. Targets are shares of what all labels of the pool give. Labels
needed are the first number from which the mean of three rounds in a row is at the target. Differences are paired by
seed; a seed deals the items out anew, so that the intervals are about the dealing, not about other patients.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt

from covid_bert.evaluation.estimates import Estimate, mean_estimate
from covid_bert.evaluation.metrics import auc
from learning.masks import MaskTeam, mask_pool
from learning.pools import LabelPool, generated_pool, slice_pool
from learning.rounds import STRATEGIES, curve, fitted, sigmoid, split

FloatArray = npt.NDArray[np.float64]
ROOT = Path(__file__).resolve().parent.parent
FIGURE = ROOT / "docs" / "images" / "active-learning.png"
RANDOM_RUNS = 2
SMOOTHED = 3
COLOURS = {"random": "#777777", "uncertainty": "#c0392b", "diversity": "#2471a3", "mixed": "#1e8449"}


@dataclass(frozen=True)
class Task:
    """What is learned: its name, its measure, the shares of the full value that are the targets, and its game.

    `play` returns, for a seed, the value with all labels, and the curve by strategy.
    """

    name: str
    measure: str
    shares: tuple[float, float]
    play: Callable[[int], tuple[float, dict[str, FloatArray]]]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, required=True, help="folder with covid_ct_md, medseg_covid9, zenodo20_2d")
    options.add_argument("--cache", type=Path, required=True, help="keeps studies and embeddings")
    options.add_argument("--studies", type=int, default=240)
    options.add_argument("--seeds", type=int, default=20)
    options.add_argument("--mask-seeds", type=int, default=8)
    options.add_argument("--figure", type=Path, default=FIGURE)
    chosen = options.parse_args()
    chosen.cache.mkdir(parents=True, exist_ok=True)
    samples = ROOT / "sample-data"
    studies = generated_pool(samples, chosen.cache, count=chosen.studies, seed=1, say=_say)
    slices = slice_pool(chosen.data, samples, chosen.cache, say=_say)
    masks = mask_pool(chosen.data, chosen.cache)
    tasks = [
        (Task("generated studies, 44 % positive", "AUC", (0.99, 1.0), _classes(studies, None)), chosen.seeds),
        (Task("generated studies, 20 % positive", "AUC", (0.99, 1.0), _classes(studies, 0.2)), chosen.seeds),
        (Task("real slices, infected or not, new patients", "AUC", (0.99, 1.0), _classes(slices, None)), chosen.seeds),
        (Task("real slices, lung masks, other contrast", "Dice", (0.97, 0.99), _masks(masks)), chosen.mask_seeds),
    ]
    drawn = []
    for task, seeds in tasks:
        start = time.monotonic()
        played = [task.play(seed) for seed in range(seeds)]
        drawn.append((task, played))
        _report(task, played, time.monotonic() - start)
    _draw(drawn, chosen.figure)


def _classes(pool: LabelPool, prevalence: float | None) -> Callable[[int], tuple[float, dict[str, FloatArray]]]:
    def play(seed: int) -> tuple[float, dict[str, FloatArray]]:
        dealt = split(pool, seed, prevalence=prevalence)
        heads = [fitted(stage, dealt.pool_positive) for stage in dealt.pool]
        scores = np.mean([sigmoid(stage @ head) for stage, head in zip(dealt.test, heads, strict=True)], axis=0)
        labels = min(60, len(dealt.pool_positive))
        return auc(scores, dealt.test_positive), _curves(lambda name, run: curve(dealt, name, run, labels=labels), seed)

    return play


def _masks(pool: object) -> Callable[[int], tuple[float, dict[str, FloatArray]]]:
    def play(seed: int) -> tuple[float, dict[str, FloatArray]]:
        team = MaskTeam(pool, seed)  # type: ignore[arg-type]
        return team.full(), _curves(lambda name, run: team.curve(name, run, labels=30), seed)

    return play


def _curves(run: Callable[[str, int], FloatArray], seed: int) -> dict[str, FloatArray]:
    """(runs, labels + 1) by strategy: only random choice differs from run to run."""
    return {
        name: np.stack([run(name, seed * 10 + again) for again in range(RANDOM_RUNS if name == "random" else 1)])
        for name in STRATEGIES
    }


def needed(values: FloatArray, target: float) -> int:
    """Labels until the mean of three rounds in a row is at the target; one more than there are, if it never is."""
    for count in range(len(values) - SMOOTHED + 1):
        part = values[count : count + SMOOTHED]
        if not np.isnan(part).any() and part.mean() >= target:
            return count
    return len(values)


def _needed(share: float, played: list[tuple[float, dict[str, FloatArray]]]) -> dict[str, FloatArray]:
    """Labels needed by strategy, (seeds), to a share of the value with all labels."""
    return {
        name: np.array(
            [np.mean([needed(row, share * full) for row in curves[name]]) for full, curves in played], np.float64
        )
        for name in STRATEGIES
    }


def _report(task: Task, played: list[tuple[float, dict[str, FloatArray]]], seconds: float) -> None:
    full = np.array([value for value, _ in played])
    limit = played[0][1]["random"].shape[1] - 1
    print(f"\n{task.name}: {len(played)} seeds, {task.measure} with all labels {full.mean():.3f}, {seconds:.0f} s")
    for name in STRATEGIES:
        some = [f"{np.mean([curves[name][:, at].mean() for _, curves in played]):.3f}" for at in (8, 15, 30)]
        print(f"  {name:12} {task.measure} at 8, 15 and 30 labels: {', '.join(some)}")
    for share in task.shares:
        print(f"  labels to {share:.0%} of all labels' {task.measure}; {limit + 1} where {limit} are not enough")
        print(f"    {'strategy':12} {'labels':>7} {'never':>6}  fewer than random")
        counts = _needed(share, played)
        for name in STRATEGIES:
            never = np.mean(
                [np.mean([needed(row, share * full) > limit for row in curves[name]]) for full, curves in played]
            )
            saved = _interval(counts["random"] - counts[name]) if name != "random" else ""
            print(f"    {name:12} {counts[name].mean():7.1f} {never:6.0%}  {saved}", flush=True)


def _interval(values: FloatArray) -> str:
    found: Estimate = mean_estimate(list(values), [str(number) for number in range(len(values))])
    if found.lower is None:
        return f"{found.value:+.1f}"
    return f"{found.value:+.1f} ({found.lower:+.1f} to {found.upper:+.1f})"


def _draw(drawn: list[tuple[Task, list[tuple[float, dict[str, FloatArray]]]]], path: Path) -> None:
    """Mean curves with the 95 % interval of the mean over seeds, and what all labels give."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(10, 7), constrained_layout=True)
    for axis, (task, played) in zip(axes.flat, drawn, strict=True):
        for name in STRATEGIES:
            rows = np.stack([curves[name].mean(axis=0) for _, curves in played])
            known = np.flatnonzero(~np.isnan(rows).any(axis=0))
            mean, half = rows.mean(axis=0)[known], 1.96 * rows.std(axis=0, ddof=1)[known] / np.sqrt(len(rows))
            axis.plot(known, mean, color=COLOURS[name], label=name, linewidth=1.8)
            axis.fill_between(known, mean - half, mean + half, color=COLOURS[name], alpha=0.13, linewidth=0)
        target = np.mean([full for full, _ in played])
        axis.axhline(target, color="black", linestyle=":", linewidth=1)
        axis.annotate("all labels", (1, target), (-4, 3), ("axes fraction", "data"),
                      textcoords="offset points", ha="right", fontsize=8)  # fmt: skip
        axis.set(title=task.name, xlabel="labels", ylabel=f"{task.measure} on the test")
        axis.title.set_fontsize(10)
        axis.grid(alpha=0.25)
    axes[0, 0].legend(frameon=False, fontsize=9, loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _say(text: str) -> None:
    print(f"  {text}", flush=True)


if __name__ == "__main__":
    main()
