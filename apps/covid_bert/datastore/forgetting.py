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

from covid_bert.datastore.index import Index
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
class _Present:
    """What is there: the ids of the studies that are offered, and marks of all files and folders, offered or not."""

    identifiers: frozenset[str]
    marks: frozenset[str]


def forget(studies: Path, *, taken_up: Path | None = None, emptied: bool = False) -> None:
    """Remove derived files of studies that are gone, of this folder of studies, and old ones, of all of them.

    Never raises: what cannot be removed now is removed the next time. A training under way keeps its studies until
    it ends; of those that could be taken up again, one that has learned from a study which is gone loses what it would
    go on from.

    Parameters
    ----------
    studies
        Folder with the studies. Where it cannot be reached, or offers none at all, its studies do not count as gone.
    taken_up
        Folder of a run that is about to be taken up again, which is left alone.
    emptied
        Whether the caller has just removed a study, so that they are gone also if that was the last one.
    """
    with _going_on():
        for name in _FORMER:
            shutil.rmtree(home() / name, ignore_errors=True)
        own = retraining_folder(studies)
        present = _present(studies, emptied=emptied)
        for folder in {*retraining_folders(), own}:
            with _going_on():
                _forget_in(folder, present if folder == own else None, taken_up)


def _present(studies: Path, *, emptied: bool) -> _Present | None:
    if not studies.is_dir():
        return None
    found = LiveView(studies, Index(studies), follow=False).get().studies
    if not found and not emptied:
        # Perhaps the place of a disk that is not there; a server that started on it has made its index.
        return None
    # A study that is not offered now, because another one has its name or it cannot be read, is not gone.
    return _Present(frozenset(found), frozenset(mark_of(path.name) for path in studies.iterdir()))


def _forget_in(own: Path, present: _Present | None, taken_up: Path | None) -> None:
    if not own.is_dir():
        return
    kept = _settle_runs(own, present, taken_up)
    oldest = time.time() - KEPT_SECONDS
    for mark, path in derived_files(own):
        gone = present is not None and mark not in present.marks
        with contextlib.suppress(OSError):
            if mark not in kept and (gone or path.stat().st_mtime < oldest):
                path.unlink()
    if present is not None and (own / _SCORES).exists():
        # Brings the packages for numbers, which the command line does without until then.
        from covid_bert.active_learning.score_store import ScoreStore

        store = ScoreStore(own)
        try:
            store.prune(present.identifiers)
        finally:
            store.close()


def _settle_runs(own: Path, present: _Present | None, taken_up: Path | None) -> set[str]:
    """Remove what runs need no more, and return the marks of the studies that those use which go on, or can."""
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
        unneeded = (
            run.state().status == "done"
            or _last_change(run.path) < latest
            or (present is not None and not used <= present.marks)
        )
        if unneeded and not _goes_on(run, under_way) and not (taken_up is not None and run.is_at(taken_up)):
            run.remove_work()
        else:
            kept |= used
    forget_old_runs(runs, keep=REMEMBERED_RUNS, spared=taken_up)
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
