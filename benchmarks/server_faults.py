"""What a server loses, spoils or leaves behind when it is killed, its disk is full, or its clients misbehave.

    python benchmarks/server_faults.py [--rounds 20] [--kinds image label ...]

Kills (``kill -9`` at random moments, then a new start): image, label, "study label", information, session, job,
"job, worker" (only the process that computes is killed), token (the process that adds tokens is killed) and training (a
real one in each round, killed in several of its stages; it must end with the very weights of one that is not). Faults:
disk, half, slow, clock. ``disk`` needs a small file system of its own: run it as root, or under ``unshare -rm``.

Each row says how many writes were acknowledged, how many of them were lost, how many files or answers were not what
had been sent, and how many files stayed behind. The exit status is 1 if any of the last three is not 0.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from server import clock, connections, disk
from server.computing import Jobs, Sessions, kill_while_adding_tokens
from server.kills import killed_rounds, worker_killed_rounds
from server.studies import random_image, write_chests
from server.trainings import killed_trainings
from server.writes import BASE, Findings, Images, Information, Kind, Labels, StudyLabels

_SHOWN = 10
Outcome = tuple[int, Findings, list[str]]
_WRITES: dict[str, Callable[[], Kind]] = {
    "image": Images,
    "label": Labels,
    "study label": StudyLabels,
    "information": Information,
    "session": Sessions,
}


def killed(name: str, folder: Path, rounds: int, generator: np.random.Generator) -> Outcome:
    """Kill a server during one kind of write."""
    if name == "token":
        kept, found = kill_while_adding_tokens(folder / "tokens.json", rounds, generator)
        return kept, found, []
    if name == "training":
        return killed_trainings(folder, rounds, generator)
    studies = folder / "studies"
    if name in _WRITES:
        kind = _WRITES[name]()
        studies.mkdir()
        (studies / f"{BASE}.nii").write_bytes(random_image(generator))
    else:
        kind = Jobs(write_chests(studies, 20 * rounds))
    run = worker_killed_rounds if name.endswith("worker") else killed_rounds
    found, odd = run(kind, folder, studies, rounds, generator)
    return kind.acknowledged(), found, odd


def print_row(name: str, rounds: int, outcome: Outcome, seconds: float) -> bool:
    """Print what happened; return whether it was as it should be."""
    kept, found, odd = outcome
    counts = f"{kept:>13}{len(found.lost):>6}{len(found.corrupt):>9}{len(found.left):>13}{len(odd):>13}"
    print(f"{name:<14}{rounds:>7}{counts}{seconds:>9.0f}", flush=True)
    details = {"lost": found.lost, "corrupt": found.corrupt, "left behind": found.left, "odd": odd, "note": found.notes}
    for title, lines in details.items():
        for line in lines[:_SHOWN]:
            print(f"    {title}: {line}", flush=True)
    return not (found.lost or found.corrupt or found.left)


def main() -> None:
    """Run and print."""
    faults: dict[str, Callable[[Path, int, np.random.Generator], Outcome]] = {
        "disk": disk.full,
        "half": connections.half_sent,
        "slow": connections.slow,
        "clock": clock.jumps,
    }
    kills = [*_WRITES, "job", "job, worker", "token", "training"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="of each kind")
    parser.add_argument("--kinds", nargs="+", choices=[*kills, *faults], default=[*kills, *faults], metavar="KIND")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments and contents")
    parser.add_argument("--folder", type=Path, help="where to work; default: the folder for temporary files")
    arguments = parser.parse_args()
    generator = np.random.default_rng(arguments.seed)
    counts = f"{'acknowledged':>13}{'lost':>6}{'corrupt':>9}{'left behind':>13}{'odd answers':>13}"
    print(f"{'kind':<14}{'rounds':>7}{counts}{'seconds':>9}", flush=True)
    good = True
    for name in arguments.kinds:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            start = time.monotonic()
            if name in faults:
                outcome = faults[name](Path(folder), arguments.rounds, generator)
            else:
                outcome = killed(name, Path(folder), arguments.rounds, generator)
            good = print_row(name, arguments.rounds, outcome, time.monotonic() - start) and good
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
