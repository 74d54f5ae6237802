"""A model for the worker that does what it is told, and a runner around it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from covid_bert.errors import MixedSeriesError, NotFoundError, ParameterError
from covid_bert.progress import Progress
from covid_bert.server.access import Role
from covid_bert.server.authentication import Caller
from covid_bert.server.jobs.runner import JobRunner
from covid_bert.server.jobs.submission import Prepared
from covid_bert.workers import Outcome

# Only a test that fails waits for so long.
_PATIENCE_SECONDS = 120
ADMIN = Caller("root", Role.ADMIN)
ANNA = Caller("anna", Role.READER)
BERT = Caller("bert", Role.READER)


def make_fake():
    """Called in the worker."""
    return compute


def compute(request: dict[str, Any], progress: Progress, folder: Path) -> Outcome:
    with Path(request["journal"]).open("a") as journal:
        journal.write(f"{request['image']}\n")
    progress.update("fake", 0.5)
    action = request["params"].get("action", "work")
    if action == "steps":
        while True:
            progress.update("fake", 0.25)
            time.sleep(0.01)
    if action == "hang":
        while True:
            time.sleep(0.1)
    if action == "gate":
        while not Path(request["journal"]).with_name("open").exists():
            time.sleep(0.01)
    if action == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "allocate":
        bytearray(1 << 62)
    if action == "typed":
        raise MixedSeriesError("Two series.", "Choose one.", series=["first", "second"])
    if action == "surprise":
        raise ValueError("secret-patient")
    if action == "json":
        return {}, {"value": float("nan")}
    if action == "elsewhere":
        return {"mask": Path("/etc/hosts")}, {}
    image = folder / "mask.nii.gz"
    image.write_bytes(b"mask of " + request["image"].encode())
    if action == "two":
        (folder / "map.nii.gz").write_bytes(b"map of " + request["image"].encode())
        return {"mask": image, "map": folder / "map.nii.gz"}, {"study": request["image"]}
    return {"mask": image}, {"study": request["image"]}


class FakeRequests:
    """Every image is a study; `weights` are part of the key."""

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self.weights = "v001"

    def check(self, _model, params) -> dict[str, Any]:
        if "no_such_key" in params:
            raise ParameterError("The request has a parameter that this model does not know.", "Leave it out.")
        return params

    def prepare(self, model, params, *, image="", session_id="", upload=None) -> Prepared:
        self.check(model, params)
        if image == "nobody":
            raise NotFoundError("No such study.", "Ask for the list.")
        request = {
            "model": model,
            "image": image or session_id or upload.name,
            "params": params,
            "journal": str(self.journal),
        }
        return Prepared(model, request, self.key(request), borrowed=not image)

    def key(self, request: dict[str, Any]) -> str:
        return hashlib.sha256(json.dumps([request, self.weights], sort_keys=True).encode()).hexdigest()

    def computed(self) -> list[str]:
        return self.journal.read_text().split() if self.journal.exists() else []


@contextmanager
def running(folder: Path, **options: Any) -> Iterator[JobRunner]:
    folder.mkdir(exist_ok=True)
    runner = JobRunner(folder / "jobs", FakeRequests(folder / "journal"), make_fake, **options)
    runner.start()
    try:
        yield runner
    finally:
        runner.close()


def submit(runner: JobRunner, image: str, action: str = "work", owner: Caller = ANNA, **params: Any) -> str:
    prepared = runner.requests.prepare("fake", {"action": action, **params}, image=image)
    return runner.submit(prepared, owner).id


def open_gate(runner: JobRunner) -> None:
    """Let the jobs with the action "gate" end."""
    runner.requests.journal.with_name("open").touch()


def await_that(true: Callable[[], bool]) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def wait_for(runner: JobRunner, identifier: str, *states: str) -> Any:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        job = runner.job(identifier, ADMIN)
        if job.state in states:
            return job
        assert time.monotonic() < deadline, job
        time.sleep(0.02)


def wait_for_stage(runner: JobRunner, identifier: str, stage: str = "fake") -> Any:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        job = runner.job(identifier, ADMIN)
        if job.stage == stage:
            return job
        assert time.monotonic() < deadline, job
        assert job.state in {"queued", "running"}, job
        time.sleep(0.02)
