"""The durable queue of studies: SQLite, so that a kill at any moment loses nothing and does nothing twice.

    receiving -> ready -> classifying -> sending -> done

A new file takes a study back to receiving. A study whose transfer broke off, or whose slices have gaps, is incomplete
until more comes or its time is over. What cannot be classified, or ends the process that tries, is set aside.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from covid_bert.errors import CovidBertError, WorkerDiedError
from covid_bert.router.queue_list import QueuedStudy, QueueList

TRANSFER_CUT = "transfer-cut"
_CUT_REASON = "The transfer of the study did not end in order: slices may be missing."
_WAITS = "('receiving', 'incomplete', 'ready', 'done', 'set-aside')"


class Queue(QueueList):
    """All studies of one router, and the steps that they take; see `QueueList`. Times are seconds since the epoch."""

    def add(self, key: str, name: str, origin: str, now: float, *, transfer: bool, restored: bool = False) -> bool:
        """Note that a file of a study is on disk, and return whether it is a new one.

        Parameters
        ----------
        key, name
            Of study and file.
        origin
            How it came.
        now
            The time.
        transfer
            Whether it came by a transfer whose end in order will be told by `end_transfer`.
        restored
            Whether it came before, and was not on the disk any more.
        """
        with self._transaction() as database:
            database.execute(
                "INSERT INTO study (key, state, origin, files, first, last, touched)"
                " VALUES (?1, 'receiving', ?2, 0, ?3, ?3, ?3) ON CONFLICT DO NOTHING",
                (key, origin, now),
            )
            added = database.execute("INSERT INTO instance VALUES (?, ?) ON CONFLICT DO NOTHING", (key, name)).rowcount
            if added:
                database.execute(
                    "UPDATE study SET files = files + 1, last = ?2, touched = ?2, cut = MAX(cut, ?3), code = NULL,"
                    f" reason = NULL, state = CASE WHEN state IN {_WAITS} THEN 'receiving' ELSE state END,"
                    f" attempts = CASE WHEN state IN {_WAITS} THEN 0 ELSE attempts END, forced = 0 WHERE key = ?1",
                    (key, now, transfer),
                )
            else:
                # Somebody is sending it again: there may be new files among those that follow.
                database.execute(
                    "UPDATE study SET touched = ?2, state = CASE WHEN ?3 AND state IN ('incomplete', 'set-aside')"
                    " THEN 'receiving' ELSE state END WHERE key = ?1",
                    (key, now, restored),
                )
            return bool(added)

    def end_transfer(self, keys: Iterable[str]) -> None:
        """Note that a transfer has ended in order, so that its studies need not wait for those that did not."""
        with self._transaction() as database:
            for key in keys:
                database.execute("UPDATE study SET cut = 0 WHERE key = ?", (key,))
                database.execute(
                    "UPDATE study SET state = 'receiving', code = NULL, reason = NULL"
                    " WHERE key = ? AND code = ? AND state IN ('incomplete', 'set-aside')",
                    (key, TRANSFER_CUT),
                )

    def settle(self, now: float, *, quiet: float, patience: float) -> None:
        """Let studies that nothing was added to for `quiet` seconds become ready, or incomplete for `patience` seconds.

        Parameters
        ----------
        now
            The time.
        quiet, patience
            Seconds since the last file.
        """
        with self._transaction() as database:
            over = "state = 'receiving' AND touched <= ?1"
            database.execute(
                f"UPDATE study SET state = 'ready', ready = ?2, due = 0 WHERE {over} AND cut = 0", (now - quiet, now)
            )
            database.execute(
                f"UPDATE study SET state = 'incomplete', code = ?3, reason = ?4 WHERE {over} AND cut = 1",
                (now - quiet, now, TRANSFER_CUT, _CUT_REASON),
            )
            database.execute(
                "UPDATE study SET state = 'set-aside', ended = ?2 WHERE state = 'incomplete' AND last <= ?1",
                (now - patience, now),
            )

    def claim(self, now: float) -> QueuedStudy | None:
        """Return the study to classify next, as one that is being classified; None if none is ready."""
        with self._transaction() as database:
            query = "SELECT * FROM study WHERE state = 'ready' AND due <= ? ORDER BY last LIMIT 1"
            row = database.execute(query, (now,)).fetchone()
            if row is None:
                return None
            database.execute(
                "UPDATE study SET state = 'classifying', working = files, attempts = attempts + 1, begun = ?,"
                " code = NULL, reason = NULL WHERE key = ?",
                (now, row["key"]),
            )
            return self._find(database, row["key"])

    def classified(self, key: str, answer: str, now: float) -> bool:
        """Note that the results are on disk; False if files came meanwhile, so that they are of half a study."""
        return self._end(key, "sending", now, answer)

    def unchanged(self, key: str, now: float) -> bool:
        """Note that the study's result is the one that was sent before; False if files came meanwhile."""
        return self._end(key, "done", now, None)

    def release(self, key: str) -> None:
        """Give a study back that is being classified, as if it had not been tried."""
        with self._transaction() as database:
            database.execute(
                "UPDATE study SET state = 'ready', attempts = attempts - 1 WHERE key = ? AND state = 'classifying'",
                (key,),
            )

    def wait(self, key: str, error: CovidBertError) -> None:
        """Let a study that is being classified, and lacks slices, wait for more."""
        self._stop(key, "incomplete", error)

    def set_aside(self, key: str, error: CovidBertError, now: float) -> None:
        """Set a study aside, or let it receive if files came meanwhile."""
        self._stop(key, "set-aside", error, now)

    def fail(self, key: str, error: CovidBertError, now: float, *, attempts: int, delay: float) -> None:
        """Let a study be classified again after `delay` seconds, or set it aside after so many attempts."""
        with self._transaction() as database:
            tried = database.execute("SELECT attempts FROM study WHERE key = ?", (key,)).fetchone()
        if tried is not None and tried["attempts"] >= attempts:
            self.set_aside(key, error, now)
        else:
            self._stop(key, "ready", error, due=now + delay)

    def postpone(self, key: str, error: CovidBertError, due: float, *, counts: bool) -> int:
        """Let results be sent again at a time, and return how often that was tried, if it counts."""
        with self._transaction() as database:
            database.execute(
                "UPDATE study SET due = ?2, code = ?3, reason = ?4, attempts = attempts + ?5"
                " WHERE key = ?1 AND state = 'sending'",
                (key, due, error.code, error.message, counts),
            )
            row = database.execute("SELECT attempts FROM study WHERE key = ?", (key,)).fetchone()
        return 0 if row is None else int(row["attempts"])

    def sendable(self, now: float) -> QueuedStudy | None:
        """Return the study whose results are to be sent next; None if there is none."""
        with self._transaction() as database:
            query = "SELECT * FROM study WHERE state = 'sending' AND due <= ? ORDER BY due, classified LIMIT 1"
            row = database.execute(query, (now,)).fetchone()
        return None if row is None else QueuedStudy.of_row(row)

    def sent(self, key: str, now: float) -> None:
        """Note that all results of a study are stored."""
        self._end(key, "done", now, None, state="sending")

    def again(self, key: str) -> None:
        """Let a study whose results are gone before they were sent be classified again."""
        with self._transaction() as database:
            database.execute(
                "UPDATE study SET state = 'ready', due = 0, attempts = 0 WHERE key = ? AND state = 'sending'", (key,)
            )

    def recover(self, now: float, *, attempts: int) -> None:
        """Put right what a killed process left: its study is tried again, or set aside after so many attempts."""
        error = WorkerDiedError("The program ended while it classified this study, each time it tried.")
        with self._transaction() as database:
            for column in ("first", "last", "touched"):
                database.execute(f"UPDATE study SET {column} = ?1 WHERE {column} > ?1", (now,))
            database.execute(
                "UPDATE study SET state = 'set-aside', code = ?2, reason = ?3, ended = ?4"
                " WHERE state = 'classifying' AND attempts >= ?1",
                (attempts, error.code, error.message, now),
            )
            database.execute("UPDATE study SET state = 'ready', due = 0 WHERE state = 'classifying'")

    def _end(self, key: str, target: str, now: float, answer: str | None, *, state: str = "classifying") -> bool:
        column = "classified" if target == "sending" else "ended"
        with self._transaction() as database:
            changed = database.execute(
                f"UPDATE study SET state = ?2, {column} = ?3, made = COALESCE(?4, made), attempts = 0, due = 0,"
                " code = NULL, reason = NULL, forced = 0, done = CASE WHEN ?2 = 'done' THEN working ELSE done END,"
                " answer = CASE WHEN ?5 = 'sending' THEN made ELSE answer END"
                " WHERE key = ?1 AND state = ?5 AND (files = working OR ?5 = 'sending')",
                (key, target, now, answer, state),
            ).rowcount
            # Files that came meanwhile are the beginning of another result.
            database.execute(
                "UPDATE study SET state = 'receiving', attempts = 0 WHERE key = ? AND state IN (?, 'done')"
                " AND files > working",
                (key, state),
            )
        return bool(changed)

    def _stop(
        self, key: str, target: str, error: CovidBertError, now: float | None = None, *, due: float = 0.0
    ) -> None:
        with self._transaction() as database:
            database.execute(
                "UPDATE study SET state = ?2, due = ?5, code = ?3, reason = ?4, ended = COALESCE(?6, ended)"
                " WHERE key = ?1 AND state IN ('classifying', 'sending')",
                (key, target, error.code, error.message, due, now),
            )
            database.execute(
                "UPDATE study SET state = 'receiving', attempts = 0, code = NULL, reason = NULL"
                " WHERE key = ? AND files > working",
                (key,),
            )

    def _find(self, database: sqlite3.Connection, key: str) -> QueuedStudy:
        return QueuedStudy.of_row(database.execute("SELECT * FROM study WHERE key = ?", (key,)).fetchone())
