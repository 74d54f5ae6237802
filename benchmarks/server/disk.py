"""A full disk: every kind of write on a small file system of its own, with more and less room left."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import requests

from server.computing import Jobs, Sessions
from server.kills import leftovers
from server.processes import running, start_ours
from server.studies import random_image, write_chests
from server.writes import BASE, Findings, Images, Information, Kind, Labels, RefusedError, StudyLabels

_MEGABYTES = 512
_WRITES_EACH = 3
# Bytes of room, so that each step of a write meets the full disk in some round.
_ROOM = (0, 4096, 16384, 65536, 2**18, 2**20, 3 * 2**20)
_INSUFFICIENT_STORAGE = 507


def full(folder: Path, rounds: int, generator: np.random.Generator) -> tuple[int, Findings, list[str]]:
    """Fill the disk of a running server, write, make room again, and check.

    Returns
    -------
    tuple
        How many writes were acknowledged, what became of them, and answers other than good ones and 507.
    """
    found, odd = Findings(), []
    with small_disk(folder / "disk"):
        work = folder / "disk"
        studies = work / "studies"
        names = write_chests(studies, 4 * _WRITES_EACH * rounds)
        (studies / f"{BASE}.nii").write_bytes(random_image(generator))
        # No job can end while the disk is full.
        kinds: list[Kind] = [Images(), Labels(), StudyLabels(), Information(), Jobs(names, followed=0)]
        sessions = Sessions()
        with running(start_ours(work, studies)) as server:
            for number in range(rounds):
                for kind in (*kinds, sessions):
                    odd += _write(kind, server.url, generator)
                with filled(work, _ROOM[number % len(_ROOM)]):
                    for kind in (*kinds, sessions):
                        odd += _write(kind, server.url, generator)
                # The same server must go on as if nothing had been.
                for kind in kinds:
                    odd += [f"with room again: {line}" for line in _write(kind, server.url, generator, refused=())]
                    found += kind.check(server)
        with running(start_ours(work, studies)) as server:
            for kind in (*kinds, sessions):
                found += kind.check(server)
            found += Findings(left=leftovers(server))
    return sum(kind.acknowledged() for kind in (*kinds, sessions)), found, odd


@contextmanager
def small_disk(folder: Path, megabytes: int = _MEGABYTES) -> Iterator[None]:
    """Mount a file system of `megabytes` on a new folder while the block runs.

    Raises
    ------
    SystemExit
        If this user may not.
    """
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        raise SystemExit("A file system cannot be mounted: run this as root, or under `unshare -rm`.")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def filled(folder: Path, room: int) -> Iterator[None]:
    """Leave `room` bytes on a folder's disk while the block runs."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as stream:
        with suppress(OSError):
            while stream.write(bytes(2**20)):
                pass
        stream.truncate(max(stream.tell() - room, 0))
    try:
        yield
    finally:
        ballast.unlink()


def _write(
    kind: Kind, url: str, generator: np.random.Generator, refused: tuple[int, ...] = (_INSUFFICIENT_STORAGE,)
) -> list[str]:
    """Write some times, and return the answers that are neither good nor among the `refused` ones."""
    odd = []
    for _ in range(_WRITES_EACH):
        try:
            kind.write(url, generator)
        except RefusedError as error:
            if error.status not in refused:
                odd.append(f"{kind.name}: {error}")
        except requests.RequestException as error:
            odd.append(f"{kind.name}: {type(error).__name__}")
    return odd
