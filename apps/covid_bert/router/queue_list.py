"""The list of studies that were received: how each stands, and what an operator may do about it."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from covid_bert.databases import Database
from covid_bert.errors import ConflictError, NotFoundError

DATABASE = "queue.sqlite"
_SCHEMA = """
    CREATE TABLE study (
        key TEXT PRIMARY KEY, state TEXT NOT NULL, origin TEXT NOT NULL, files INTEGER NOT NULL,
        working INTEGER NOT NULL DEFAULT 0, done INTEGER NOT NULL DEFAULT 0, cut INTEGER NOT NULL DEFAULT 0,
        forced INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL DEFAULT 0,
        made TEXT, answer TEXT, code TEXT, reason TEXT, first REAL NOT NULL, last REAL NOT NULL, touched REAL NOT NULL,
        ready REAL, begun REAL, classified REAL, ended REAL);
    CREATE INDEX study_state ON study (state, last);
    CREATE TABLE instance (
        study TEXT NOT NULL REFERENCES study (key) ON DELETE CASCADE, name TEXT NOT NULL,
        PRIMARY KEY (study, name)) WITHOUT ROWID;
"""


class State(str, Enum):
    """Where a study stands, in the usual order; `INCOMPLETE` and `ASIDE` are the ways off it."""

    RECEIVING = "receiving"
    INCOMPLETE = "incomplete"
    READY = "ready"
    CLASSIFYING = "classifying"
    SENDING = "sending"
    DONE = "done"
    ASIDE = "set-aside"


@dataclass(frozen=True)
class QueuedStudy:
    """One study of the queue.

    Parameters
    ----------
    key
        Its pseudonymous name: 32 hexadecimal digits of a SHA-256 of its StudyInstanceUID.
    state
        Where it stands.
    origin
        How it came: ``receiver`` or ``folder``.
    files, done
        Number of different files that came, and that were there for the last result that was sent (0: there is none).
    attempts
        How often the present state was tried.
    forced
        Whether an operator asked for it to be classified as it is.
    answer
        What the last result that was sent is about; None if there is none.
    code, reason
        Why it waits or was set aside; None where it does not.
    first, last, ready, begun, classified, ended
        Seconds since the epoch: first and last new file, end of the quiet period, begin and end of the last
        computation, and when the results were stored; None where it has not come so far.
    """

    key: str
    state: State
    origin: str
    files: int
    done: int
    attempts: int
    forced: bool
    answer: str | None
    code: str | None
    reason: str | None
    first: float
    last: float
    ready: float | None
    begun: float | None
    classified: float | None
    ended: float | None

    @classmethod
    def of_row(cls, row: sqlite3.Row) -> QueuedStudy:
        """Read a row of the queue."""
        values: dict[str, Any] = {name: row[name] for name in cls.__dataclass_fields__}
        return cls(**values | {"state": State(row["state"]), "forced": bool(row["forced"])})

    @property
    def short(self) -> str:
        """The first digits of its name, for logs and lists."""
        return self.key[:12]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"state": self.state.value}


class QueueList:
    """The studies of one router. Threads share it, and other processes may look at it and change it.

    Every method raises `OutputError` if the disk does not take it; nothing is then changed.

    Parameters
    ----------
    folder
        For the database; made with mode 0700.
    """

    def __init__(self, folder: Path) -> None:
        self._database = Database(folder / DATABASE, _SCHEMA, version=1, title="The queue of studies")

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def studies(self) -> list[QueuedStudy]:
        """All studies, the one that came last first."""
        with self._transaction() as database:
            return [QueuedStudy.of_row(row) for row in database.execute("SELECT * FROM study ORDER BY last DESC")]

    def names(self, key: str) -> set[str]:
        """The files of a study that were noted."""
        with self._transaction() as database:
            return {row["name"] for row in database.execute("SELECT name FROM instance WHERE study = ?", (key,))}

    def counts(self) -> dict[str, int]:
        """Number of studies in each state."""
        with self._transaction() as database:
            found = dict(database.execute("SELECT state, COUNT(*) FROM study GROUP BY state").fetchall())
        return {state.value: found.get(state.value, 0) for state in State}

    def find(self, beginning: str) -> QueuedStudy:
        """Return the study whose name begins so.

        Raises
        ------
        NotFoundError
            If there is none, or more than one.
        """
        matching = [study for study in self.studies() if beginning and study.key.startswith(beginning)]
        if len(matching) != 1:
            raise NotFoundError(
                f"{len(matching) or 'No'} studies have a name that begins so.", "`covid-bert route list` shows them."
            )
        return matching[0]

    def retry(self, key: str) -> None:
        """Classify, or send, a study that was set aside or lacks slices, as it is.

        Raises
        ------
        ConflictError
            If it was not.
        """
        with self._transaction() as database:
            # Results that were made and refused need not be made again.
            changed = database.execute(
                "UPDATE study SET state = CASE WHEN classified >= begun THEN 'sending' ELSE 'ready' END, attempts = 0,"
                " due = 0, cut = 0, forced = 1, code = NULL, reason = NULL"
                " WHERE key = ? AND state IN ('incomplete', 'set-aside')",
                (key,),
            ).rowcount
        if not changed:
            raise ConflictError("The study was not set aside.", "`covid-bert route list` shows how it stands.")

    def drop(self, key: str) -> None:
        """Forget a study.

        Raises
        ------
        ConflictError
            If it is being classified or sent.
        """
        with self._transaction() as database:
            query = "DELETE FROM study WHERE key = ? AND state NOT IN ('classifying', 'sending')"
            dropped = database.execute(query, (key,)).rowcount
        if not dropped:
            raise ConflictError("The study is being classified or sent.", "Wait until it is done or set aside.")

    def ended_before(self, done: float, aside: float) -> list[str]:
        """Return the studies that have been done, or set aside, since before a time, and that nobody sent again."""
        with self._transaction() as database:
            query = (
                "SELECT key FROM study WHERE state = 'done' AND MAX(ended, touched) < ?"
                " OR state = 'set-aside' AND MAX(ended, touched) < ?"
            )
            return [row["key"] for row in database.execute(query, (done, aside))]

    def _transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        return self._database.transaction()
