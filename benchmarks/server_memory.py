"""Resident memory of a server and of the process that computes, over many inferences of small studies.

    python benchmarks/server_memory.py [--inferences 300] [--stock]

Each inference is of a study of its own: our server computes nothing twice. The slope is that of a straight line
through the second half of the measurements, in MiB for 100 inferences; what is loaded once lies before it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]

from server.measuring import Request, load
from server.processes import Server, running, start_ours, start_stock
from server.studies import write_chests

_EVERY = 25


def follow(server: Server, studies: list[str], name: str) -> None:
    """Run one inference after the other; print the memory now and then, and its slope at the end."""
    print(f"\n{name}\n  {'inferences':>10}{'errors':>8}{'server MiB':>12}{'worker MiB':>12}")
    errors = 0
    seen: list[tuple[int, float, float]] = []
    for done in range(0, len(studies), _EVERY):
        part = studies[done : done + _EVERY]
        errors += load(server.url, 1, (Request("POST", f"/infer/lungs?image={study}") for study in part)).errors
        worker = server.worker()
        own = mebibytes(psutil.Process(server.process.pid))
        seen.append((done + len(part), own, mebibytes(worker) if worker is not None else 0.0))
        print(f"  {seen[-1][0]:>10}{errors:>8}{seen[-1][1]:>12.0f}{seen[-1][2]:>12.0f}", flush=True)
    half = np.array(seen[len(seen) // 2 :])
    if len(half) > 1:
        slopes = np.polyfit(half[:, 0], half[:, 1:], 1)[0] * 100
        print(f"  {'slope':>10}{'':>8}{slopes[0]:>+12.2f}{slopes[1]:>+12.2f}   MiB for 100 inferences")


def mebibytes(process: psutil.Process) -> float:
    """Return the resident memory of a process in MiB."""
    return float(process.memory_info().rss) / 2**20


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inferences", type=int, default=300)
    parser.add_argument("--stock", action="store_true", help="stock MONAI Label too, which computes in the server")
    parser.add_argument("--folder", type=Path, help="where to work; default: the folder for temporary files")
    arguments = parser.parse_args()
    servers = {"ours": start_ours, **({"stock": start_stock} if arguments.stock else {})}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as work:
        for name, start in servers.items():
            folder = Path(work, name)
            studies = write_chests(folder / "studies", arguments.inferences)
            with running(start(folder, folder / "studies")) as server:
                follow(server, studies, name)


if __name__ == "__main__":
    main()
