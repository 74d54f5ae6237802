"""Writes that are not for the folder of studies: jobs with their results, sessions, and tokens."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import requests

from server.processes import Server
from server.studies import random_image
from server.writes import Findings, RefusedError, get, post, put

_ENDED = {"done", "failed", "cancelled", "expired"}
# What a job may fail with when its server or worker is killed, or there is no room for its result.
_TOLD = {"cannot-write", "interrupted", "worker-died"}
_JOBS_SECONDS = 1800.0


class Jobs:
    """Jobs for studies of one content, so that all results must be equal.

    Parameters
    ----------
    studies
        Their ids.
    followed
        The part of the jobs whose end is waited for before the next one is submitted, in [0, 1].
    """

    name, within = "job", 20.0

    def __init__(self, studies: list[str], followed: float = 0.5) -> None:
        self._studies = studies
        self._followed = followed
        self._lock = threading.Lock()
        self._next = 0
        self._kept: list[str] = []
        self._whole: set[str] = set()
        self._failed: set[str] = set()
        self._result: bytes | None = None

    def write(self, url: str, generator: np.random.Generator) -> None:
        """Submit a job for the next study, and wait for the end of some."""
        with self._lock:
            study = self._studies[self._next % len(self._studies)]
            self._next += 1
        job = post(f"{url}/jobs", json={"model": "lungs", "image": study, "params": {}}).json()["id"]
        with self._lock:
            self._kept.append(job)
        if generator.random() < self._followed:
            self._ended(url, job)

    def acknowledged(self) -> int:
        """Return how many were acknowledged."""
        return len(self._kept)

    def check(self, server: Server) -> Findings:
        """Wait until all jobs have ended, and compare their results."""
        found = Findings()
        for job in self._kept:
            try:
                state = self._ended(server.url, job)
            except RefusedError as error:
                found.lost.append(f"job {job}: {error}")
                continue
            if state["state"] == "failed" and state["error"]["code"] in _TOLD:
                self._failed.add(job)
                continue
            if state["state"] != "done":
                found.corrupt.append(f"job {job}: {state['state']} {state['error']}")
            elif job not in self._whole and (wrong := self._wrong(server.url, job)):
                found.corrupt.append(f"job {job}: {wrong}")
            else:
                self._whole.add(job)
        found.notes = [f"{len(self._failed)} of {len(self._kept)} jobs failed with {' or '.join(sorted(_TOLD))}"]
        return found

    def _ended(self, url: str, job: str) -> dict[str, Any]:
        deadline = time.monotonic() + _JOBS_SECONDS
        while True:
            state: dict[str, Any] = get(f"{url}/jobs/{job}").json()
            if state["state"] in _ENDED or time.monotonic() > deadline:
                return state
            time.sleep(0.2)

    def _wrong(self, url: str, job: str) -> str:
        try:
            mask = gzip.decompress(get(f"{url}/jobs/{job}/file").content)
            get(f"{url}/jobs/{job}/result")
        except (RefusedError, OSError, EOFError) as error:
            return str(error)
        voxels = np.asarray(nibabel.Nifti1Image.from_bytes(mask).dataobj).tobytes()
        if self._result is None:
            self._result = voxels
        return "" if voxels == self._result else "another result than for the same voxels"


class Sessions:
    """Uploads for a while: acknowledged ones must be gone after a kill."""

    name, within = "session", 1.5

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: list[str] = []

    def write(self, url: str, generator: np.random.Generator) -> None:
        """Upload a study for a while."""
        content = random_image(generator)
        session = put(f"{url}/session/", files={"files": ("study.nii", content)}).json()["session_id"]
        with self._lock:
            self._kept.append(session)

    def acknowledged(self) -> int:
        """Return how many were acknowledged."""
        return len(self._kept)

    def check(self, server: Server) -> Findings:
        """Ask for all of them: each is gone, and says so."""
        found = Findings()
        for session in self._kept:
            status = requests.get(f"{server.url}/session/{session}", timeout=60).status_code
            if status not in {404, 410}:
                found.left.append(f"session {session}: {status}")
        return found


_ADD_TOKENS = """
import sys
from pathlib import Path
from typing import Any
from covid_bert.server.access import Role
from covid_bert.server.tokens import TokenFile
tokens = TokenFile(Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    name = f"{sys.argv[3]}-{number}"
    tokens.add(name, Role.READER)
    print(name, flush=True)
"""


def kill_while_adding_tokens(file: Path, rounds: int, generator: np.random.Generator) -> tuple[int, Findings]:
    """Kill processes that add tokens to a file as ``covid-bert token add`` does.

    Returns
    -------
    tuple
        How many tokens were acknowledged, and what became of them.
    """
    from covid_bert.errors import CovidBertError
    from covid_bert.server.tokens import TokenFile

    kept: set[str] = set()
    found = Findings()
    for number in range(rounds):
        command = [sys.executable, "-c", _ADD_TOKENS, str(file), "200", f"round-{number}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        first = process.stdout.readline()
        if not first:
            raise RuntimeError("The process that adds tokens did not start.")
        timer = threading.Timer(generator.random() * 0.3, process.kill)
        timer.start()
        lines = [first, *process.stdout.read().splitlines(keepends=True)]
        process.wait()
        timer.cancel()
        kept |= {line.split()[0] for line in lines if line.endswith("\n")}
        try:
            names = {token.name for token in TokenFile(file).tokens()}
        except CovidBertError as error:
            found.corrupt.append(f"tokens: {error}")
            break
        found.lost = [f"token {name}" for name in kept if name not in names]
    found.left = [path.name for path in file.parent.glob(".*") if path.is_file()]
    return len(kept), found
