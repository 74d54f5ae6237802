"""Seconds of an inference while studies are scored in the background, beside the same without, in one run.

    python benchmarks/scoring_latency.py [--pairs 8] [--shape 60 128 128]

The server is ours, with the shipped weights. Inferences with and without scoring take turns, each on a study of its
own; before each one with scoring, a study is being scored. The processor time that scoring takes meanwhile is counted.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]
import requests

from covid_bert.evaluation.estimates import mean_estimate
from covid_bert.phantom import make, write
from server.processes import Server, running, start_ours

_PATIENCE_SECONDS = 300.0


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pairs", type=int, default=8)
    options.add_argument("--shape", type=int, nargs=3, default=[60, 128, 128], metavar=("SLICES", "ROWS", "COLUMNS"))
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        studies = Path(folder) / "studies"
        studies.mkdir()
        # Different chests: equal ones would be scored once.
        slices, rows, columns = chosen.shape
        spacing = (320.0 / slices, 340.0 / rows, 340.0 / columns)
        names = [f"chest-{number:03d}" for number in range(4 * chosen.pairs + 2)]
        for number, name in enumerate(names):
            write(make(shape=(slices, rows, columns), spacing=spacing, seed=number), studies / f"{name}.nii.gz")
        with running(start_ours(Path(folder) / "ours", studies)) as server:
            found = measure(server, names, chosen.pairs)
        report(found, f"{slices} x {rows} x {columns}")


def measure(server: Server, names: list[str], pairs: int) -> list[tuple[float, float, float]]:
    """Seconds without and with scoring, and the scoring's processor seconds during the latter, for each pair."""
    # From the end: the scoring begins with the first ones.
    fresh = iter(reversed(names))
    infer(server, next(fresh))
    found = []
    for _ in range(pairs):
        without = infer(server, next(fresh))
        known = set(server.descendants())
        requests.post(f"{server.url}/scoring/study_scores", json={}, timeout=60).raise_for_status()
        process = scoring_process(server, known)
        before = busy_seconds(process)
        with_scoring = infer(server, next(fresh))
        used = busy_seconds(process) - before
        requests.delete(f"{server.url}/scoring/", timeout=60).raise_for_status()
        found.append((without, with_scoring, used))
    return found


def infer(server: Server, study: str) -> float:
    """Seconds of a classification."""
    start = time.monotonic()
    files = {"params": (None, '{"reply_image": "none"}')}
    requests.post(f"{server.url}/infer/covid_s1?image={study}", files=files, timeout=600).raise_for_status()
    return time.monotonic() - start


def scoring_process(server: Server, known: set[psutil.Process]) -> psutil.Process:
    """Wait until the process that scores has been computing for a while, and return it."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        for process in set(server.descendants()) - known:
            # Its imports take a few seconds; a study more.
            if busy_seconds(process) > 8.0:
                return process
        time.sleep(0.1)
    raise RuntimeError("No study was being scored.")


def busy_seconds(process: psutil.Process) -> float:
    """Processor time of a process so far; 0 if it has ended."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def report(found: list[tuple[float, float, float]], shape: str) -> None:
    """Print medians, and the mean ratio of the pairs with its bootstrap interval."""
    without, scored, used = (np.array(column) for column in zip(*found, strict=True))
    ratio = mean_estimate(list(scored / without), [str(number) for number in range(len(found))])
    print(f"\n{len(found)} pairs of inferences (covid_s1 on {shape}), seconds")
    print(f"  median without scoring           {np.median(without):6.2f}")
    print(f"  median with scoring              {np.median(scored):6.2f}")
    limits = "" if ratio.lower is None else f" ({ratio.lower:.2f} to {ratio.upper:.2f})"
    print(f"  mean ratio of the pairs          {ratio.value:6.2f}{limits}")
    print(f"  processor seconds of the scoring {np.median(used):6.2f} during an inference")


if __name__ == "__main__":
    main()
