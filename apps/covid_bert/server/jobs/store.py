"""The list of jobs on disk: SQLite in a folder of its own, with one folder of files for each computation.

A *computation* is one inference; a *job* is one user's wish for it. Equal wishes share a computation.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
import uuid
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from covid_bert.databases import transaction, unusable
from covid_bert.server.jobs.database import TITLE, lock_folder, open_database, private_folder, remove_old_damaged
from covid_bert.server.jobs.fairness import LIVE, TURNS, refuse_if_full
from covid_bert.server.jobs.records import Computation, JobRecord, interrupted, upload_gone
from covid_bert.server.jobs.submission import Prepared

# How long ended jobs can still be asked for, without anything of the study, before they are forgotten.
REMEMBERED_SECONDS = 7 * 24 * 3600.0
_LISTED = 500

_JOB = """
    SELECT job.id, job.owner, job.computation, computation.model, computation.error, computation.details,
           computation.params, computation.files, computation.folder, job.created,
           COALESCE(job.state, computation.state) AS state, MAX(job.created, computation.started) AS started,
           COALESCE(job.ended, MAX(job.created, computation.ended)) AS ended
    FROM job JOIN computation ON computation.number = job.computation
"""
# Whether no job needs a computation, or its result, any more.
_UNWANTED = "NOT EXISTS (SELECT 1 FROM job WHERE job.computation = computation.number AND job.state IS NULL)"


class JobStore:
    """All jobs of one server, safe to use from several threads.

    Every method raises `OutputError` if the disk does not take it; nothing is then changed.

    Parameters
    ----------
    folder
        For the database and the results; made with mode 0700.
    now
        Seconds since the epoch. Later times in an older database are taken for now: the clock was set back.
    patience
        Seconds that another process may still have the folder.

    Raises
    ------
    ServerError
        If another server uses the folder.
    """

    def __init__(self, folder: Path, now: float, *, patience: float = 0.0) -> None:
        self.folder = private_folder(folder)
        self._results = private_folder(folder / "results")
        self._folder_lock = lock_folder(folder, patience)
        self._database = open_database(folder)
        self._lock = threading.RLock()
        self._recover(now)

    def close(self) -> None:
        """Close the database and let another server use the folder."""
        with self._lock:
            self._database.close()
            self._folder_lock.release()

    def add(self, owner: str, prepared: Prepared, now: float, *, limit: int, own_limit: int) -> JobRecord:
        """Add a job, tied to an equal computation that waits, runs or is done, else to a new one.

        Parameters
        ----------
        owner
            Name of the user's token.
        prepared
            What is to be computed.
        now
            Seconds since the epoch.
        limit
            Most jobs that may wait or run.
        own_limit
            Most of this owner.

        Raises
        ------
        BusyError
            If the job would have to wait and so many do already.
        """
        identifier = uuid.uuid4().hex
        with self._transaction() as database:
            equal = database.execute(
                f"SELECT number, state FROM computation WHERE key = ? AND (state = 'done' OR state IN {LIVE})",
                (prepared.key,),
            ).fetchone()
            if equal is None or equal["state"] != "done":
                refuse_if_full(database, owner, limit=limit, own_limit=own_limit)
            number = _insert(database, prepared) if equal is None else equal["number"]
            database.execute(
                "INSERT INTO job (id, owner, computation, created) VALUES (?, ?, ?, ?)",
                (identifier, owner, number, now),
            )
            return self._record(database.execute(f"{_JOB} WHERE job.id = ?", (identifier,)).fetchone())

    def job(self, identifier: str) -> JobRecord | None:
        """The job with that id, or None."""
        with self._transaction() as database:
            row = database.execute(f"{_JOB} WHERE job.id = ?", (identifier,)).fetchone()
        return None if row is None else self._record(row)

    def jobs(self, owner: str | None) -> list[JobRecord]:
        """The newest jobs of one owner, or of all (None), newest first, at most 500."""
        with self._transaction() as database:
            where = "WHERE ?1 IS NULL OR job.owner = ?1 ORDER BY job.rowid DESC LIMIT ?2"
            rows = database.execute(f"{_JOB} {where}", (owner, _LISTED)).fetchall()
        return [self._record(row) for row in rows]

    def cancel(self, identifier: str, now: float) -> None:
        """Cancel a job that waits or runs, and its computation if it waits and no other job needs it."""
        with self._transaction() as database:
            database.execute(
                "UPDATE job SET state = 'cancelled', ended = ? WHERE id = ? AND state IS NULL AND computation IN"
                f" (SELECT number FROM computation WHERE state IN {LIVE})",
                (now, identifier),
            )
            # A running one is stopped by its runner; without its key no later job is tied to it.
            database.execute(f"UPDATE computation SET key = NULL WHERE state IN {LIVE} AND {_UNWANTED}")
            database.execute(
                "UPDATE computation SET state = 'cancelled', request = NULL, ended = ?"
                f" WHERE state = 'queued' AND {_UNWANTED}",
                (now,),
            )

    def live(self) -> int:
        """How many jobs wait or run."""
        with self._transaction() as database:
            query = "SELECT COUNT(*) FROM job JOIN computation ON number = computation WHERE job.state IS NULL"
            return int(database.execute(f"{query} AND computation.state IN {LIVE}").fetchone()[0])

    def wanted(self, number: int) -> bool:
        """Whether any job needs the computation."""
        with self._transaction() as database:
            query = "SELECT 1 FROM job WHERE computation = ? AND state IS NULL LIMIT 1"
            return database.execute(query, (number,)).fetchone() is not None

    def unfinished(self) -> list[Computation]:
        """The computation that runs and those that wait, in their order: the owners take turns."""
        with self._transaction() as database:
            return [Computation.of_row(row) for row in database.execute(TURNS)]

    def start(self, computation: Computation, now: float) -> Path:
        """Mark a computation as running, and return its new folder (mode 0700)."""
        with self._transaction() as database:
            database.execute(
                "UPDATE computation SET state = 'running', started = ? WHERE number = ?", (now, computation.number)
            )
        return private_folder(self._results / computation.folder)

    def finish(
        self, number: int, now: float, *, key: str | None, files: dict[str, str], params: dict[str, Any]
    ) -> None:
        """Keep the result of a computation; no later job is given it if `key` is None."""
        with self._transaction() as database:
            database.execute(
                "UPDATE computation SET state = 'done', ended = ?, key = ?, files = ?, params = ? WHERE number = ?",
                (now, key, json.dumps(files), json.dumps(params), number),
            )

    def fail(self, number: int, now: float, error: dict[str, Any], *, cancelled: bool = False) -> None:
        """End a computation without a result, and remove its files."""
        public = {name: value for name, value in error.items() if name != "details"}
        with self._transaction() as database:
            database.execute(
                "UPDATE computation SET state = ?, ended = ?, key = NULL, request = NULL, error = ?, details = ?"
                " WHERE number = ?",
                (
                    "cancelled" if cancelled else "failed",
                    now,
                    json.dumps(public),
                    json.dumps(error.get("details") or {}),
                    number,
                ),
            )
            folder = database.execute("SELECT folder FROM computation WHERE number = ?", (number,)).fetchone()[0]
        shutil.rmtree(self._results / folder, ignore_errors=True)

    def durations(self, model: str) -> list[float]:
        """Seconds that the last ten computations of a model took."""
        with self._transaction() as database:
            query = "SELECT ended - started FROM computation WHERE model = ? AND state IN ('done', 'expired')"
            return [float(row[0]) for row in database.execute(f"{query} ORDER BY number DESC LIMIT 10", (model,))]

    def expire(self, now: float, *, lifetime: float) -> None:
        """Remove all of a study from jobs that ended longer ago, and results whose session, upload or study is gone.

        Parameters
        ----------
        now
            Seconds since the epoch.
        lifetime
            Seconds for which a result can be fetched.
        """
        with self._transaction() as database:
            done = database.execute("SELECT number, borrowed, request FROM computation WHERE state = 'done'").fetchall()
            gone = [(row["number"],) for row in done if _is_gone(row)]
            database.executemany("UPDATE job SET state = 'expired' WHERE state IS NULL AND computation = ?", gone)
            database.execute(
                "UPDATE job SET state = 'expired' WHERE state IS NULL AND EXISTS (SELECT 1 FROM computation WHERE"
                " number = job.computation AND state = 'done' AND MAX(ended, job.created) <= ?)",
                (now - lifetime,),
            )
            database.execute(
                "UPDATE computation SET state = 'expired', key = NULL, request = NULL, params = NULL, files = NULL"
                f" WHERE state = 'done' AND {_UNWANTED}"
            )
            database.execute(
                "UPDATE computation SET details = NULL WHERE details IS NOT NULL AND ended <= ?", (now - lifetime,)
            )
            database.execute(
                "DELETE FROM job WHERE created <= ? AND (state IS NOT NULL OR computation IN"
                " (SELECT number FROM computation WHERE state IN ('failed', 'cancelled', 'expired')))",
                (now - lifetime - REMEMBERED_SECONDS,),
            )
            database.execute("DELETE FROM computation WHERE NOT EXISTS (SELECT 1 FROM job WHERE computation = number)")
        try:
            with self._lock:
                # What was cleared is otherwise still in the database's log.
                self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._remove_files()
            remove_old_damaged(self.folder, lifetime)
        except (sqlite3.Error, OSError) as error:
            raise unusable(TITLE) from error

    def _recover(self, now: float) -> None:
        """Put right what an earlier server left; no session or upload outlives its server."""
        columns = (("computation", "started"), ("computation", "ended"), ("job", "created"), ("job", "ended"))
        with self._transaction() as database:
            query = "SELECT number, state FROM computation WHERE state = 'running' OR state = 'queued' AND borrowed"
            left = database.execute(query).fetchall()
            for table, column in columns:
                database.execute(f"UPDATE {table} SET {column} = ?1 WHERE {column} > ?1", (now,))
        for number, state in left:
            self.fail(number, now, (interrupted() if state == "running" else upload_gone()).to_json())
        self._remove_files()

    def _remove_files(self) -> None:
        """Remove the files of all computations that neither run nor have a result, whatever left them behind."""
        # Looked for first: what a computation that begins now makes is not among them. Nobody waits for the removing.
        found = list(self._results.iterdir())
        with self._transaction() as database:
            query = "SELECT folder FROM computation WHERE state IN ('running', 'done')"
            kept = {row["folder"] for row in database.execute(query)}
        for folder in found:
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def _record(self, row: sqlite3.Row) -> JobRecord:
        return JobRecord.of_row(row, self._results)

    def _transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        return transaction(self._database, self._lock, TITLE)


def _is_gone(computation: sqlite3.Row) -> bool:
    """Whether the study of a computation was removed; one that another server keeps has an id, and no path."""
    image = Path(json.loads(computation["request"])["image"])
    # A folder of studies whose disk is away has lost nothing.
    reachable = bool(computation["borrowed"]) or (image.is_absolute() and image.parent.is_dir())
    return reachable and not image.exists()


def _insert(database: sqlite3.Connection, prepared: Prepared) -> int:
    cursor = database.execute(
        "INSERT INTO computation (folder, key, model, borrowed, request, state) VALUES (?, ?, ?, ?, ?, 'queued')",
        (
            uuid.uuid4().hex,
            prepared.key,
            prepared.model,
            prepared.borrowed,
            json.dumps(prepared.request),
        ),
    )
    return int(cursor.lastrowid or 0)
