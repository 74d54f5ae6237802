"""Listing and inference with 1, 8 and 32 clients: our server beside stock MONAI Label with the same models and weights.

    python benchmarks/server_load.py
    python benchmarks/server_load.py --studies 200 --clients 1 8 --seconds 3 --inferences 8     (about two minutes)

Stock MONAI Label keeps its studies in its own datastore; both get copies of the same folder. Every inference is of a
study of its own, since our server computes nothing twice; "lungs, again" asks for the same ones once more. While
inferences run, a further process asks for /healthz (ours) and /info/ (both) every 20 ms.

The servers run one after the other on this machine, beside the clients. Only ratios can be compared between machines.
"""

from __future__ import annotations

import argparse
import itertools
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from covid_bert.commands.manifest import machine, versions
from server.measuring import Measured, Request, load, nearest_rank, probed
from server.processes import Server, running, start_ours, start_stock
from server.studies import write_chests, write_tiny

Start = Callable[[Path, Path], Server]
_SERVERS: dict[str, Start] = {"ours": start_ours, "stock": start_stock}
_LISTINGS = {"list, all": "/datastore/?output=all", "list, numbers": "/datastore/?output=stats", "info": "/info/"}
_HEALTH_GOAL_MILLISECONDS = 50


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Parameters
    ----------
    work, clients, server
        What was asked, by how many, of which.
    measured
        What they saw.
    processor_seconds
        What the server's processes took for it, which other programs disturb less.
    """

    work: str
    clients: int
    server: str
    measured: Measured
    processor_seconds: float = 0.0


def measure_listing(count: int, clients: Sequence[int], seconds: float, folder: Path) -> tuple[list[Row], list[str]]:
    """Ask both servers for lists of `count` studies; return the rows and how long each took to start."""
    rows, starts = [], []
    for name, start in _SERVERS.items():
        write_tiny(folder / name / "studies", count)
        with running(start(folder / name, folder / name / "studies")) as server:
            starts.append(f"{name} {server.start_seconds:.1f} s")
            for work, path in _LISTINGS.items():
                load(server.url, 1, iter([Request("GET", path)]))
                for number in clients:
                    requests = itertools.repeat(Request("GET", path))
                    rows.append(_row(work, number, name, server, requests, seconds))
    return rows, starts


def measure_inference(count: int, clients: Sequence[int], folder: Path) -> tuple[list[Row], list[Row]]:
    """Run `count` inferences with each number of clients; return their rows, and those of the probes meanwhile."""
    rows: list[Row] = []
    probes: list[Row] = []
    for name, start in _SERVERS.items():
        studies = write_chests(folder / name / "studies", 1 + count * len(clients))
        with running(start(folder / name, folder / name / "studies")) as server:
            # The first one loads the weights.
            load(server.url, 1, iter([_inference(studies[0])]))
            for index, number in enumerate(clients):
                chosen = studies[1 + index * count : 1 + (index + 1) * count]
                # Half with each probe, so that the probes do not disturb each other.
                halves = [("/healthz", chosen[::2]), ("/info/", chosen[1::2])]
                for path, part in halves if name == "ours" else [("/info/", chosen)]:
                    with probed(server.url + path) as seconds:
                        row = _row("lungs", number, name, server, map(_inference, part))
                    rows = _merged(rows, row)
                    probes.append(Row(path, number, name, Measured(seconds, 0, row.measured.wall_seconds)))
                rows.append(_row("lungs, again", number, name, server, map(_inference, chosen)))
    return rows, probes


def print_table(title: str, rows: Sequence[Row]) -> None:
    """Print rows by work and number of clients, ours first, with stock's percentiles as multiples of ours."""
    print(f"\n{title}")
    print(f"  {'what':<14}{'clients':>8}{'server':>8}{'answers':>9}{'errors':>8}{'p50 ms':>11}{'p99 ms':>11}"
          f"{'a second':>10}{'CPU ms each':>13}{'p50 x ours':>12}{'p99 x ours':>12}")  # fmt: skip
    ours: dict[tuple[str, int], tuple[float, float]] = {}
    for row in sorted(rows, key=lambda row: (list(dict.fromkeys(r.work for r in rows)).index(row.work), row.clients)):
        middle, high = (1000 * nearest_rank(row.measured.seconds, percent) for percent in (50, 99))
        own = ours.setdefault((row.work, row.clients), (middle, high))
        answers = len(row.measured.seconds)
        # The probes' own part cannot be told.
        each = f"{1000 * row.processor_seconds / answers:.1f}" if row.processor_seconds and answers else "-"
        print(f"  {row.work:<14}{row.clients:>8}{row.server:>8}{answers:>9}{row.measured.errors:>8}"
              f"{middle:>11.1f}{high:>11.1f}{row.measured.rate:>10.1f}"
              f"{each:>13}{middle / own[0]:>12.2f}"
              f"{high / own[1]:>12.2f}")  # fmt: skip


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, nargs="*", default=[1000, 10_000], help="in the lists; none: no lists")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement of a list")
    parser.add_argument("--inferences", type=int, default=128, help="of each measurement; 0: none")
    parser.add_argument("--folder", type=Path, help="where to work; default: the folder for temporary files")
    arguments = parser.parse_args()
    description = machine()
    print(f"{description['processor']}, {description['threads']} threads")
    print(", ".join(f"{name} {version}" for name, version in versions().items()))
    with tempfile.TemporaryDirectory(dir=arguments.folder) as work:
        for count in arguments.studies:
            rows, starts = measure_listing(count, arguments.clients, arguments.seconds, Path(work, f"list-{count}"))
            print_table(f"{count} studies; started in: {', '.join(starts)}", rows)
        if arguments.inferences:
            rows, probes = measure_inference(arguments.inferences, arguments.clients, Path(work, "inference"))
            print_table("Inference on small studies", rows)
            print_table("Meanwhile", probes)
            worst = max(nearest_rank(row.measured.seconds, 99) for row in probes if row.work == "/healthz")
            print(f"  /healthz: worst p99 {1000 * worst:.1f} ms; the goal is under {_HEALTH_GOAL_MILLISECONDS} ms")


def _inference(study: str) -> Request:
    return Request("POST", f"/infer/lungs?image={study}", "params=%7B%7D")


def _row(
    work: str, clients: int, name: str, server: Server, requests: Iterator[Request], seconds: float = math.inf
) -> Row:
    before = server.processor_seconds()
    measured = load(server.url, clients, requests, seconds=seconds)
    return Row(work, clients, name, measured, server.processor_seconds() - before)


def _merged(rows: list[Row], row: Row) -> list[Row]:
    """Add a row; if the last one is of the same kind, both become one."""
    if not rows or (rows[-1].work, rows[-1].clients, rows[-1].server) != (row.work, row.clients, row.server):
        return [*rows, row]
    last, new = rows[-1].measured, row.measured
    both = Measured(last.seconds + new.seconds, last.errors + new.errors, last.wall_seconds + new.wall_seconds)
    processor_seconds = rows[-1].processor_seconds + row.processor_seconds
    return [*rows[:-1], Row(row.work, row.clients, row.server, both, processor_seconds)]


if __name__ == "__main__":
    main()
