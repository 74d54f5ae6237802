"""Removes what was derived from studies that are gone, and what of trainings nobody needs any more.

What is derived is images and masks of patients too: `covid_bert.retraining.derived` says where it lies. All who remove
a study, or begin or end a training, call `forget`, and a server calls it from time to time.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from covid_bert.datastore.index import INDEX_NAME, Index
from covid_bert.datastore.view import LiveView
from covid_bert.errors import CovidBertError, NotFoundError
from covid_bert.retraining.derived import (
    KEPT_SECONDS,
    derived_files,
    mark_of,
    marks_in,
    retraining_folder,
    retraining_folders,
)
from covid_bert.retraining.run_folder import RunFolder, forget_old_runs, trains
from covid_bert.retraining.run_records import ENDED
from covid_bert.retraining.runs_elsewhere import runs_elsewhere
from covid_bert.weights.location import home

logger = logging.getLogger(__name__)

# For as long a training that was stopped, killed or failed can be taken up again at the command line.
RESUMABLE_SECONDS = 7 * 24 * 3600.0
# Of each folder of studies: the newest runs that have ended.
REMEMBERED_RUNS = 20
# Where earlier versions of the program kept this, without marks of the studies.
_FORMER = ("cache/labels", "retraining/channels")
_SCORES = "scores.sqlite"


@dataclass(frozen=True)
class _Offered:
    """The studies that are there: their ids, and marks of their files."""

    identifiers: frozenset[str]
    marks: frozenset[str]


def forget(studies: Path, *, taken_up: Path | None = None) -> None:
    """Remove derived files of studies that are gone, of this folder of studies, and old ones, of all of them.

    Never raises: what cannot be removed now is removed the next time. A training under way keeps its studies until
    it ends; of those that could be taken up again, one that has learned from a study which is gone loses what it would
    go on from.

    Parameters
    ----------
    studies
        Folder with the studies. Where it cannot be reached, its studies do not count as gone.
    taken_up
        Folder of a run that is about to be taken up again, which is left alone.
    """
    with _going_on():
        for name in _FORMER:
            shutil.rmtree(home() / name, ignore_errors=True)
        own = retraining_folder(studies)
        offered = _offered(studies)
        for folder in {*retraining_folders(), own}:
            with _going_on():
                _forget_in(folder, offered if folder == own else None, taken_up)


def _offered(studies: Path) -> _Offered | None:
    if not studies.is_dir():
        return None
    found = LiveView(studies, Index(studies), follow=False).get().studies
    if not found and not (studies / INDEX_NAME).exists():
        # The place of a disk that is not there.
        return None
    return _Offered(frozenset(found), frozenset(mark_of(one.name) for one in found.values()))


def _forget_in(own: Path, offered: _Offered | None, taken_up: Path | None) -> None:
    if not own.is_dir():
        return
    kept = _settle_runs(own, offered, taken_up)
    oldest = time.time() - KEPT_SECONDS
    for mark, path in derived_files(own):
        gone = offered is not None and mark not in offered.marks
        with contextlib.suppress(OSError):
            if mark not in kept and (gone or path.stat().st_mtime < oldest):
                path.unlink()
    if offered is not None and (own / _SCORES).exists():
        # Brings the packages for numbers, which the command line does without until then.
        from covid_bert.active_learning.score_store import ScoreStore

        store = ScoreStore(own)
        try:
            store.prune(offered.identifiers)
        finally:
            store.close()


def _settle_runs(own: Path, offered: _Offered | None, taken_up: Path | None) -> set[str]:
    """Remove what runs need no more, and return the marks of the studies that those use which go on."""
    kept: set[str] = set()
    runs, under_way = own / "runs", trains(own)
    latest = time.time() - RESUMABLE_SECONDS
    for path in runs.glob("*"):
        # Half removed, or damaged.
        if path.is_dir() and not _is_run(path) and _last_change(path) < latest:
            shutil.rmtree(path, ignore_errors=True)
    found = [RunFolder(path) for path in runs.glob("*") if _is_run(path)]
    for run in [*found, *runs_elsewhere(own)]:
        if not run.work.is_dir():
            continue
        used = marks_in(run.work)
        if _goes_on(run, under_way) or (taken_up is not None and run.path.resolve() == taken_up.resolve()):
            kept |= used
        elif (
            run.state().status == "done"
            or _last_change(run.path) < latest
            or (offered is not None and not used <= offered.marks)
        ):
            run.remove_work()
    forget_old_runs(runs, keep=REMEMBERED_RUNS)
    return kept


def _goes_on(run: RunFolder, under_way: bool) -> bool:
    """Whether a process works on a run, or the server will; of the others one cannot know which it is."""
    standing = run.state()
    if _is_run(run.path) and run.request().origin == "server" and not standing.settled:
        return True
    return under_way and standing.status not in ENDED


def _is_run(path: Path) -> bool:
    try:
        RunFolder(path).request()
    except NotFoundError:
        return False
    return True


def _last_change(path: Path) -> float:
    times = [path.stat().st_mtime]
    for file in path.glob("*"):
        with contextlib.suppress(OSError):
            times.append(file.stat().st_mtime)
    return max(times)


@contextlib.contextmanager
def _going_on() -> Iterator[None]:
    try:
        yield
    except (OSError, CovidBertError) as error:
        code = error.code if isinstance(error, CovidBertError) else type(error).__name__
        logger.warning("What was derived from studies could not be removed now: %s", code)
