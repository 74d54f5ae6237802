"""Real trainings whose server, or whose process, is killed at random moments of every stage, and what comes of them."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import psutil  # type: ignore[import-untyped]

from server.kills import leftovers
from server.processes import ROOMY, Server, start_ours
from server.writes import Findings, get, post, put

STAGES = ("material", "training", "judging", "installing")
SHAPE, SPACING, PATIENTS = (44, 72, 72), (6.0, 4.6, 4.6), 10
LONGEST_SECONDS = 1800.0
# Of a stage before its kill, at most; a stage that has gone meanwhile is killed in the next one.
_WITHIN = {"material": 4.0, "training": 20.0, "judging": 15.0, "installing": 0.3}
_TRAINING_NICE = 15
_ENDED = {"DONE", "ERROR", "STOPPED"}
_BODY = {"epochs": 2, "device": "cpu", "precision": "float32", "seed": 1}


@dataclass(frozen=True)
class Outcome:
    """What a training left: the SHA-256 of its weights, its losses, and whether it is live."""

    weights: str
    losses: tuple[float, ...]
    published: bool


def killed_trainings(folder: Path, rounds: int, generator: np.random.Generator) -> tuple[int, Findings, list[str]]:
    """Train once undisturbed, and then `rounds` times with kills; compare.

    In each round every stage is met by a kill with a chance of one half: by turns of the server with all its processes,
    of the server alone, and of the process that trains.

    Returns
    -------
    tuple
        How many trainings were acknowledged, what became of them, and answers that were neither good nor cut off.
    """
    found, odd, kills = Findings(), [], 0
    studies = folder / "studies"
    studies.mkdir()
    server = start_ours(folder / "whole", studies, options=ROOMY)
    try:
        _correct(server, folder / "made")
        post(f"{server.url}/train/lungs", json=_BODY)
        whole = _outcome(server, _end(server))
    finally:
        server.stop()
    for number in range(rounds):
        # A data folder of its own: each begins at the shipped version.
        own = folder / f"round-{number}"
        server = start_ours(own, studies, options=ROOMY)
        try:
            post(f"{server.url}/train/lungs", json=_BODY)
            for stage in STAGES:
                if generator.random() < 0.5:
                    continue
                if not _reached(server, stage, generator):
                    break
                kills += 1
                server = _kill(server, own, studies, ("all", "server", "process")[kills % 3])
            state = _end(server)
            name = f"round {number}"
            if state["status"] != "DONE":
                found.lost.append(f"{name}: {state['status']} {state['error']}")
                continue
            outcome = _outcome(server, state)
            if outcome != whole:
                found.corrupt.append(f"{name}: {outcome} instead of {whole}")
            found += Findings(left=leftovers(server))
            if state["left_out"]:
                odd.append(f"{name}: {state['left_out']}")
        finally:
            server.stop()
    found.notes = [f"{kills} kills; weights of all trainings {whole.weights[:16]}"]
    return rounds + 1, found, odd


def _correct(server: Server, made: Path) -> None:
    """Bring studies and their masks; images of their own draw them into the parts of the split."""
    from covid_bert.phantom import make

    made.mkdir()
    affine = np.diag([-SPACING[2], -SPACING[1], SPACING[0], 1.0])
    for number in range(PATIENTS):
        person = make(shape=SHAPE, spacing=SPACING, seed=number)
        for kind, array in (("image", np.asarray(person.volume.array)), ("label", person.lungs.array)):
            path = made / f"{kind}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(array.transpose(2, 1, 0), affine), path)
            part, tag = ("file", "") if kind == "image" else ("label", "&tag=final")
            route = f"{server.url}/datastore/{kind}?image=case-{number}{tag}"
            put(route, files={part: (path.name, path.read_bytes())})


def _state(server: Server) -> dict[str, Any]:
    state: dict[str, Any] = get(f"{server.url}/train/").json()
    return state


def _reached(server: Server, stage: str, generator: np.random.Generator) -> bool:
    """Wait until a stage is under way or over, and then a while; return whether the training still runs."""
    end = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < end:
        state = _state(server)
        if state["status"] in _ENDED:
            return False
        if state["stage"] in STAGES and STAGES.index(state["stage"]) >= STAGES.index(stage):
            time.sleep(generator.random() * _WITHIN[stage])
            return _state(server)["status"] not in _ENDED
        time.sleep(0.05)
    return False


def _kill(server: Server, folder: Path, studies: Path, what: str) -> Server:
    if what == "process":
        for process in server.descendants():
            # The one that steps back for the others.
            with contextlib.suppress(psutil.Error):
                if process.nice() >= _TRAINING_NICE:
                    process.kill()
        return server
    server.kill(with_children=what == "all")
    return start_ours(folder, studies, options=ROOMY)


def _end(server: Server) -> dict[str, Any]:
    end = time.monotonic() + LONGEST_SECONDS
    while True:
        state = _state(server)
        if state["status"] in _ENDED or time.monotonic() > end:
            return state
        time.sleep(0.2)


def _outcome(server: Server, state: dict[str, Any]) -> Outcome:
    """What was made, after checking that it is the only version and that inferences name what is live."""
    (model,) = (item for item in get(f"{server.url}/weights").json()["models"] if item["model"] == "lungs")
    made = [item["version"] for item in model["versions"] if item["gate"] is not None]
    result = state["result"]
    if made != [result["version"]]:
        raise RuntimeError(f"The versions {made} were made, and the training tells of {result['version']}.")
    if (model["live"] == result["version"]) is not result["published"] or model["warning"]:
        raise RuntimeError(f"Live is {model['live']}, and the training says {result}.")
    manifest = server.home / "weights" / model["name"] / result["version"] / "manifest.json"
    weights = json.loads(manifest.read_text())["sha256"]
    return Outcome(weights, tuple(point["loss"] for point in state["curve"]), result["published"])
