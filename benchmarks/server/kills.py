"""A server that is killed at random moments while clients write, started again, and asked for what it had taken."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import requests

from server.processes import Server, running, start_ours
from server.studies import MARKER
from server.writes import Findings, Kind, RefusedError

WRITERS = 4
_WRITES_BEFORE_KILL = 4
_GONE_SECONDS = 60.0
_TEMPORARY_NAME = re.compile(r"\.[0-9a-f]{32}(\..*)?")
_RECORDED = re.compile(r"(\d{6})\.data.*")


def killed_rounds(
    kind: Kind, folder: Path, studies: Path, rounds: int, generator: np.random.Generator
) -> tuple[Findings, list[str]]:
    """Write, kill, start again and check, `rounds` times.

    Every second time the server's other processes are killed at the same moment, so that none can tidy up.

    Returns
    -------
    Findings
        Of all rounds.
    list
        Answers of the server that were neither good nor cut off.
    """
    found = Findings()
    odd: list[str] = []
    server = start_ours(folder, studies)
    try:
        for number in range(rounds):
            odd += _write_until_killed(kind, server, generator, with_children=number % 2 == 1)
            if number % 2 == 0:
                found += Findings(left=_left_without_start(server))
            server = start_ours(folder, studies)
            found += kind.check(server)
            found += Findings(left=leftovers(server))
    finally:
        server.stop()
    return found, odd


def worker_killed_rounds(
    kind: Kind, folder: Path, studies: Path, rounds: int, generator: np.random.Generator
) -> tuple[Findings, list[str]]:
    """As `killed_rounds`, but only the process that computes is killed; the server goes on."""
    found = Findings()
    with running(start_ours(folder, studies)) as server:
        odd = []
        for _ in range(rounds):
            stopped = threading.Event()
            writers, replies = _start_writers(kind, server.url, stopped, generator)
            time.sleep(generator.random() * kind.within)
            worker = server.worker()
            if worker is not None:
                worker.kill()
            time.sleep(generator.random() * kind.within)
            stopped.set()
            for writer in writers:
                writer.join()
            odd += replies
            found += kind.check(server)
    return found, odd


def leftovers(server: Server) -> list[str]:
    """Return files that nobody needs while a server runs to which nobody speaks."""
    left = [f"temporary: {path.name}" for path in files(server.temporary)]
    left += [f"data folder: temporary/{path.name}" for path in _without_locks(server.home / "temporary")]
    left += [
        f"data folder: {path.relative_to(server.home)}"
        for path in files(server.home)
        if _TEMPORARY_NAME.fullmatch(path.name) or _has_marker(path)
    ]
    for path in files(server.studies):
        inside = path.relative_to(server.studies)
        recorded = _RECORDED.fullmatch(path.name)
        if (
            _TEMPORARY_NAME.fullmatch(path.name)
            or (inside.parts[0] == ".incoming" and path.suffix != ".lock")
            or (recorded is not None and not path.with_name(f"{recorded[1]}.json").exists())
        ):
            left.append(f"studies: {inside.parent.name}/{path.name}")
    return left


def files(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and below."""
    # Unlike `rglob`, this goes on when a folder is removed meanwhile.
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in sorted(names))


def _write_until_killed(
    kind: Kind, server: Server, generator: np.random.Generator, *, with_children: bool
) -> list[str]:
    longest = _longest_wait(kind, server, generator)
    stopped = threading.Event()
    writers, odd = _start_writers(kind, server.url, stopped, generator)
    time.sleep(generator.random() * longest)
    server.kill(with_children=with_children)
    stopped.set()
    for writer in writers:
        writer.join()
    return odd


def _longest_wait(kind: Kind, server: Server, generator: np.random.Generator) -> float:
    """Return the seconds within which a kill comes: long enough for some writes, on a slow machine too."""
    start = time.monotonic()
    kind.write(server.url, generator)
    return max(kind.within, _WRITES_BEFORE_KILL * (time.monotonic() - start))


def _start_writers(
    kind: Kind, url: str, stopped: threading.Event, generator: np.random.Generator
) -> tuple[list[threading.Thread], list[str]]:
    """Start threads that write until they are stopped; what is answered in error is added to the list."""
    odd: list[str] = []

    def write(own: np.random.Generator) -> None:
        while not stopped.is_set():
            try:
                kind.write(url, own)
            except RefusedError as error:
                odd.append(f"{kind.name}: {error}")
                stopped.wait(0.2)
            except requests.RequestException:
                return

    writers = [threading.Thread(target=write, args=(own,)) for own in generator.spawn(WRITERS)]
    for writer in writers:
        writer.start()
    return writers, odd


def _left_without_start(server: Server) -> list[str]:
    """Return what still lies in temporary folders a while after a server was killed and before another starts."""
    deadline = time.monotonic() + _GONE_SECONDS
    while True:
        left = [*_without_locks(server.home / "temporary"), *files(server.temporary)]
        if not left or time.monotonic() > deadline:
            return [f"after the kill: {path.name}" for path in left]
        time.sleep(0.1)


def _has_marker(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return MARKER in stream.read(2**20)
    except FileNotFoundError:
        return False


def _without_locks(folder: Path) -> list[Path]:
    """Return the files of a folder but the empty ones that tell which server lives."""
    return [path for path in files(folder) if path.name != "lock" or path.stat().st_size]
