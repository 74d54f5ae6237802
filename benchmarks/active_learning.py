"""How many labels each strategy needs to reach a target, beside random choice.

    python benchmarks/active_learning.py --data FOLDER --cache FOLDER

A simulated team labels five items a round; heads on embeddings that were computed once are fitted anew after each
round, and measured on items that are never labelled. Protocol: docs/active-learning.md. Labels needed are those of the
first round from which the mean of two rounds in a row is at the target. Differences are paired by seed; a seed deals
the items out anew, so that the intervals are about the dealing, not about other patients.
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

from covid_bert.evaluation.estimates import mean_estimate
from learning.masks import MaskPool, MaskTeam, mask_pool
from learning.pools import CLEAR, INFECTED, LabelPool, slice_pool
from learning.rounds import STRATEGIES, Situation, curve, deal, full
from learning.site import NORMAL, site_pool

FloatArray = npt.NDArray[np.float64]
ROOT = Path(__file__).resolve().parent.parent
FIGURE = ROOT / "docs" / "images" / "active-learning.png"
RANDOM_RUNS = 2
SMOOTHED = 2
# Of the generator.
SITE_SEED = 10
LOBAR = Situation("bacterial-like", prevalence=0.07, plain=NORMAL, hard=0.2, held_out=0.25)
NODULES = Situation("bronchopneumonia", prevalence=0.07, plain=NORMAL, hard=0.2, held_out=0.25)
SLICES = Situation(INFECTED, prevalence=0.08, plain=CLEAR, hard=None, held_out=0.3)
COLOURS = {"random": "#777777", "uncertainty": "#c0392b", "diversity": "#2471a3", "mixed": "#1e8449"}


@dataclass(frozen=True)
class Task:
    """What is learned: its name, its measure, the targets as shares of the value with all labels, and its game.

    `play` returns, for a seed, the value with all labels, and by strategy the runs' rounds: (labels, value, ...).
    """

    name: str
    measure: str
    shares: tuple[float, float]
    play: Callable[[int], tuple[float, dict[str, FloatArray]]]


Played = list[tuple[float, dict[str, FloatArray]]]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, required=True, help="folder with covid_ct_md, medseg_covid9, zenodo20_2d")
    options.add_argument("--cache", type=Path, required=True, help="keeps embeddings")
    options.add_argument("--studies", type=int, default=300)
    options.add_argument("--seeds", type=int, default=100)
    options.add_argument("--mask-seeds", type=int, default=6)
    options.add_argument("--first-seed", type=int, default=0)
    options.add_argument("--figure", type=Path, default=FIGURE)
    chosen = options.parse_args()
    chosen.cache.mkdir(parents=True, exist_ok=True)
    samples = ROOT / "sample-data"
    studies = site_pool([samples, chosen.data], chosen.cache, count=chosen.studies, seed=SITE_SEED, say=_say)
    slices = slice_pool(chosen.data, samples, chosen.cache, say=_say)
    masks = mask_pool(chosen.data, chosen.cache)
    seeds = range(chosen.first_seed, chosen.first_seed + chosen.seeds)
    drawn = []
    for task, several in [
        (Task("generated studies: rare lobar pneumonia", "AUC", (0.95, 0.98), _classes(studies, LOBAR)), seeds),
        (Task("generated studies: rare bronchopneumonia", "AUC", (0.95, 0.98), _classes(studies, NODULES)), seeds),
        (Task("real slices: rare infection", "AUC", (0.99, 1.0), _classes(slices, SLICES, labels=80)), seeds),
        (Task("real slices: lung masks, other contrast", "Dice", (0.97, 0.99), _masks(masks)),
         range(chosen.first_seed, chosen.first_seed + chosen.mask_seeds)),
    ]:  # fmt: skip
        start = time.monotonic()
        played = [task.play(seed) for seed in several]
        drawn.append((task, played))
        _report(task, played, time.monotonic() - start)
    _draw(drawn, chosen.figure)


def _classes(
    pool: LabelPool, situation: Situation, *, labels: int = 120
) -> Callable[[int], tuple[float, dict[str, FloatArray]]]:
    def play(seed: int) -> tuple[float, dict[str, FloatArray]]:
        dealt = deal(pool, situation, seed)
        return full(dealt), _curves(lambda name, run: curve(dealt, name, run, labels=labels), seed)

    return play


def _masks(pool: MaskPool) -> Callable[[int], tuple[float, dict[str, FloatArray]]]:
    def play(seed: int) -> tuple[float, dict[str, FloatArray]]:
        team = MaskTeam(pool, seed)
        return team.full(), _curves(lambda name, run: team.curve(name, run, labels=30), seed)

    return play


def _curves(run: Callable[[str, int], FloatArray], seed: int) -> dict[str, FloatArray]:
    """(runs, rounds, columns) by strategy: only random choice differs from run to run."""
    return {
        name: np.stack([run(name, seed * 10 + again) for again in range(RANDOM_RUNS if name == "random" else 1)])
        for name in STRATEGIES
    }


def needed(rounds: FloatArray, target: float) -> float:
    """Labels until the mean of two rounds in a row is at the target; infinite if it never is."""
    for number in range(len(rounds) - SMOOTHED + 1):
        if rounds[number : number + SMOOTHED, 1].mean() >= target:
            return float(rounds[number, 0])
    return np.inf


def _report(task: Task, played: Played, seconds: float) -> None:
    best = np.mean([value for value, _ in played])
    rounds = played[0][1]["random"][0, :, 0]
    # What counts for a target that is not reached with the labels that are played: one round more.
    never = rounds[-1] + rounds[-1] - rounds[-2]
    print(f"\n{task.name}: {len(played)} seeds, {task.measure} with all labels {best:.3f}, {seconds:.0f} s")
    places = [
        int(np.argmin(np.abs(rounds - labels))) for labels in (rounds[0], rounds[-1] / 4, rounds[-1] / 2, rounds[-1])
    ]
    print(f"  mean {task.measure} at {', '.join(f'{rounds[place]:.0f}' for place in places)} labels; "
          "mean over all rounds, more than random (95 % interval)")  # fmt: skip
    means = {name: np.stack([curves[name].mean(axis=0) for _, curves in played]) for name in STRATEGIES}
    for name in STRATEGIES:
        values = ", ".join(f"{means[name][:, place, 1].mean():.3f}" for place in places)
        gained = _interval(means[name][:, :, 1].mean(axis=1) - means["random"][:, :, 1].mean(axis=1), "+.4f")
        print(
            f"    {name:12} {values}; {means[name][:, :, 1].mean():.4f}  {gained if name != 'random' else ''}".rstrip()
        )
    if means["random"].shape[2] > 2:
        found = "; ".join(f"{name} {means[name][:, places[2], 2].mean():.1f}" for name in STRATEGIES)
        print(f"  of the rare class among {rounds[places[2]]:.0f} labels: {found}")
    for share in task.shares:
        print(
            f"  labels to {share:.0%} of all labels' {task.measure}; {never:.0f} where {rounds[-1]:.0f} are not enough"
        )
        print(f"    {'strategy':12} {'labels':>7} {'never':>6}  fewer than random (95 % interval)")
        counts = {
            name: [np.array([needed(run, share * top) for run in curves[name]]) for top, curves in played]
            for name in STRATEGIES
        }
        kept = {name: np.array([np.minimum(runs, never).mean() for runs in counts[name]]) for name in STRATEGIES}
        for name in STRATEGIES:
            lost = np.mean([np.isinf(runs).mean() for runs in counts[name]])
            saved = _interval(kept["random"] - kept[name], "+.1f") if name != "random" else ""
            print(f"    {name:12} {kept[name].mean():7.1f} {lost:6.0%}  {saved}".rstrip(), flush=True)


def _interval(values: FloatArray, form: str) -> str:
    found = mean_estimate(list(values), [str(number) for number in range(len(values))])
    if found.lower is None or found.upper is None:
        return f"{found.value:{form}}"
    return f"{found.value:{form}} ({found.lower:{form}} to {found.upper:{form}})"


def _draw(drawn: list[tuple[Task, Played]], path: Path) -> None:
    """Mean curves with the 95 % interval of the mean over seeds, and what all labels give."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(10, 7), constrained_layout=True)
    for axis, (task, played) in zip(axes.flat, drawn, strict=True):
        for name in STRATEGIES:
            rows = np.stack([curves[name].mean(axis=0) for _, curves in played])
            labels, values = rows[0, :, 0], rows[:, :, 1]
            mean, half = values.mean(axis=0), 1.96 * values.std(axis=0, ddof=1) / np.sqrt(len(values))
            axis.plot(labels, mean, color=COLOURS[name], label=name, linewidth=1.8)
            axis.fill_between(labels, mean - half, mean + half, color=COLOURS[name], alpha=0.13, linewidth=0)
        best = float(np.mean([value for value, _ in played]))
        for value, text in ((best, "all labels"), (best * task.shares[0], f"{task.shares[0]:.0%} of it")):
            axis.axhline(value, color="black", linestyle=":", linewidth=1)
            axis.annotate(text, (1, value), (-4, 3), ("axes fraction", "data"), textcoords="offset points",
                          ha="right", fontsize=8)  # fmt: skip
        axis.set(title=task.name, xlabel="labels", ylabel=f"{task.measure} on the test")
        axis.title.set_fontsize(10)
        axis.margins(y=0.09)
        axis.grid(alpha=0.25)
    axes[0, 0].legend(frameon=False, fontsize=9, loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _say(text: str) -> None:
    print(f"  {text}", flush=True)


if __name__ == "__main__":
    main()
