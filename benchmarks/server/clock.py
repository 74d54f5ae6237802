"""A computer whose clock is set forward and back while a server runs and between two starts."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import requests

from server.computing import Jobs
from server.kills import files, leftovers
from server.processes import Server, running, start_ours
from server.studies import random_image, write_chests
from server.writes import BASE, Findings, Images, Information, Kind, Labels, RefusedError, StudyLabels, get, post, put

_DAY = 24 * 3600
# Less than results are kept.
_EARLY = 6 * 3600
_JUMPS = (400 * _DAY, -400 * _DAY, 3600, -3600, 0)
_SHIFTED = Path(__file__).parent / "shifted"
_JOB_SECONDS = 600.0
_EXPIRY_SECONDS = 90.0


def jumps(folder: Path, rounds: int, generator: np.random.Generator) -> tuple[int, Findings, list[str]]:
    """Move the clock during a server's life, and start servers at other times; write and check each time.

    A running server must keep sessions, results and jobs through every jump. A server that starts long after the
    results were made must remove them; one that starts before must neither keep them for ever nor fail.

    Returns
    -------
    tuple
        How many writes were acknowledged, what became of them, and what else was not as it should be.
    """
    found, odd = Findings(), []
    studies, clock = folder / "studies", folder / "clock"
    names = write_chests(studies, 8 * (rounds + 2) * (len(_JUMPS) + 1))
    (studies / f"{BASE}.nii").write_bytes(random_image(generator))
    jobs = Jobs(names)
    kinds: list[Kind] = [Images(), Labels(), StudyLabels(), Information(), jobs]
    environment = {"PYTHONPATH": _with_own_path(), "BENCHMARK_CLOCK": str(clock)}
    clock.write_text("0")
    for _ in range(rounds):
        with running(start_ours(folder, studies, environment=environment)) as server:
            session = put(f"{server.url}/session/", files={"files": ("a.nii", random_image(generator))}).json()
            odd += _write_all(kinds, server, generator)
            for jump in _JUMPS:
                clock.write_text(str(jump))
                odd += _write_all(kinds, server, generator)
                for kind in kinds:
                    found += kind.check(server)
                if not requests.get(f"{server.url}/session/{session['session_id']}", timeout=60).ok:
                    odd.append(f"a session was lost when the clock moved by {jump} s")
        # One that starts early finds results of later today.
        clock.write_text(str(-_EARLY))
        with running(start_ours(folder, studies, environment=environment)) as server:
            for kind in kinds:
                found += kind.check(server)
            found += Findings(left=leftovers(server))
        clock.write_text("0")
    odd += _expiry(folder, studies, clock, environment, names[-1])
    return sum(kind.acknowledged() for kind in kinds), found, odd


def _write_all(kinds: list[Kind], server: Server, generator: np.random.Generator) -> list[str]:
    odd = []
    for kind in kinds:
        try:
            kind.write(server.url, generator)
        except RefusedError as error:
            odd.append(f"{kind.name}: {error}")
    return odd


def _expiry(folder: Path, studies: Path, clock: Path, environment: dict[str, str], study: str) -> list[str]:
    """Start a server 400 days after a result was made: nothing of it may be left."""
    with running(start_ours(folder, studies, environment=environment)) as server:
        job = post(f"{server.url}/jobs", json={"model": "lungs", "image": study, "params": {}}).json()["id"]
        deadline = time.monotonic() + _JOB_SECONDS
        while get(f"{server.url}/jobs/{job}").json()["state"] != "done":
            if time.monotonic() > deadline:
                return ["a job did not end"]
            time.sleep(0.2)
    clock.write_text(str(400 * _DAY))
    with running(start_ours(folder, studies, environment=environment)) as server:
        deadline = time.monotonic() + _EXPIRY_SECONDS
        results = folder / "home" / "jobs"
        while any("results" in path.parts for path in files(results)):
            if time.monotonic() > deadline:
                return ["results of 400 days ago are still on the disk"]
            time.sleep(0.2)
        status = requests.get(f"{server.url}/jobs/{job}/file", timeout=60).status_code
    return [] if status in {404, 410} else [f"the result of 400 days ago is answered with {status}"]


def _with_own_path() -> str:
    return os.pathsep.join([str(_SHIFTED), *filter(None, [os.environ.get("PYTHONPATH")])])
