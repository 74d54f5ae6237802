"""The check of `covid-bert doctor` on trainings: what was interrupted or is damaged, and how much they keep."""

from __future__ import annotations

import contextlib
from pathlib import Path

from covid_bert.commands.doctor_check import NOTE, OK, Check
from covid_bert.commands.doctor_installation import GIBIBYTE
from covid_bert.commands.doctor_server import server_runs
from covid_bert.retraining.run_folder import list_runs
from covid_bert.server.configuration import ServerConfiguration
from covid_bert.weights.location import home


def trainings(configuration: ServerConfiguration | None) -> Check:
    """Whether all runs can be read, and whether one of the server waits for its start."""
    runs, damaged, waiting = 0, 0, 0
    folders = sorted((home() / "retraining").glob("*/runs"))
    for folder in folders:
        known = list_runs(folder)
        runs += len(known)
        damaged += sum(path.is_dir() for path in folder.iterdir()) - len(known)
        waiting += sum(not run.state().settled for run, request in known if request.origin == "server")
    if waiting and not server_runs(configuration):
        text = "a training was interrupted" if waiting == 1 else f"{waiting} trainings were interrupted"
        return Check("trainings", NOTE, text, "Start the server: it goes on with them from their checkpoints.")
    if damaged:
        remedy = "Remove those below retraining/ in the data folder whose request.json cannot be read."
        text = "a folder holds" if damaged == 1 else f"{damaged} folders hold"
        return Check("trainings", NOTE, f"{text} no training that can be read", remedy)
    size = _size(home() / "retraining") / GIBIBYTE
    return Check("trainings", OK, f"{runs}, {size:.1f} GiB with all that is kept of studies for them")


def _size(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        # A training that runs meanwhile replaces and removes files.
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size if path.is_file() else 0
    return size
