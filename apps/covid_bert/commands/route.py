"""`covid-bert route`: the router beside the PACS, and its queue."""

from __future__ import annotations

import json
import os
import signal
import time
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from covid_bert import RESEARCH_USE_ONLY, logs
from covid_bert.errors import NotFoundError, ServerError
from covid_bert.router.configuration import load
from covid_bert.router.queue_list import DATABASE, QueuedStudy, QueueList, State

# A router writes how it is every two seconds.
_FRESH_SECONDS = 30.0


def run(configuration: Path, console: Console) -> None:
    """Route studies until a signal ends it.

    Parameters
    ----------
    configuration
        TOML file; see `covid_bert.router.configuration.RouteConfiguration`.
    console
        For the line that says that it runs.

    Raises
    ------
    ParameterError, ServerError, BusyError, OutputError
        If it cannot be started.
    """
    from covid_bert.router.routing import Router

    settings = load(configuration)
    logs.configure(settings.log_format)
    # Studies and results are for this user only.
    os.umask(0o077)
    router = Router(settings)
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: router.stop())
    where = f"port {router.port}" if router.port is not None else "the watched folder"
    console.print(f"Routing studies from {where}. {RESEARCH_USE_ONLY}", highlight=False)
    router.run()


def show(configuration: Path, console: Console, *, as_json: bool) -> None:
    """Print the studies of the queue, the one that came last first."""
    queue = _queue(configuration)
    studies = queue.studies()
    if as_json:
        print(json.dumps([study.to_json() for study in studies], indent=1))
        return
    table = Table(title="1 study" if len(studies) == 1 else f"{len(studies)} studies")
    for column in ("study", "state", "files", "last file", "reason"):
        table.add_column(column, overflow="fold")
    for study in studies:
        last = datetime.fromtimestamp(study.last).isoformat(" ", "seconds")
        reason = "" if study.code is None else f"{study.code}: {study.reason}"
        table.add_row(study.short, study.state.value, str(study.files), last, escape(reason))
    console.print(table)


def retry(configuration: Path, names: list[str], console: Console, *, all_aside: bool) -> None:
    """Try studies that were set aside, or lack slices, as they are.

    Parameters
    ----------
    configuration
        TOML file of the router, which may run.
    names
        Beginnings of names in the list.
    console
        For what was done.
    all_aside
        Whether to try all that were set aside.

    Raises
    ------
    NotFoundError
        If there is no such study.
    ConflictError
        If it was not set aside.
    """
    queue = _queue(configuration)
    for study in _chosen(queue, names, all_aside=all_aside):
        queue.retry(study.key)
        console.print(f"{study.short}: tried again", highlight=False)


def drop(configuration: Path, names: list[str], console: Console, *, all_aside: bool) -> None:
    """Forget studies, and remove their files and results; errors and parameters as for `retry`."""
    from covid_bert.router.spool import Spool

    settings = load(configuration)
    spool = Spool(settings.spool, reserve_bytes=settings.reserve_bytes)
    for study in _chosen(spool.queue, names, all_aside=all_aside):
        spool.queue.drop(study.key)
        spool.remove(study.key)
        console.print(f"{study.short}: dropped", highlight=False)


def health(configuration: Path) -> int:
    """Print how the router is, as JSON.

    Returns
    -------
    int
        0 if it runs and all is well, else 9.
    """
    from covid_bert.router.routing import HEALTH_FILE

    try:
        text = (load(configuration).spool / HEALTH_FILE).read_text(encoding="utf-8")
        told = json.loads(text)
    except (OSError, ValueError):
        told = {"well": False, "time": 0.0}
    told["running"] = time.time() - told["time"] < _FRESH_SECONDS
    print(json.dumps(told, indent=1))
    return 0 if told["running"] and told["well"] else ServerError.exit_code


def _queue(configuration: Path) -> QueueList:
    folder = load(configuration).spool
    if not (folder / DATABASE).exists():
        raise NotFoundError("The router has not run yet.", "Start it with `covid-bert route run`.")
    return QueueList(folder)


def _chosen(queue: QueueList, names: list[str], *, all_aside: bool) -> list[QueuedStudy]:
    if all_aside:
        return [study for study in queue.studies() if study.state is State.ASIDE]
    return [queue.find(name) for name in names]
