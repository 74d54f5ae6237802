"""SQLite files of the program: private, opened whatever their state, and changed in whole transactions."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from covid_bert.errors import OutputError

logger = logging.getLogger(__name__)

DAMAGED_PREFIX = "damaged-"
_ROOM = "Free disk space, or see who may write to the program's data folder."


def open_database(path: Path, schema: str, *, version: int, title: str) -> sqlite3.Connection:
    """Open a database, or make it. A damaged one, or one of another version, is moved aside with a warning.

    Parameters
    ----------
    path
        The file; its folder exists.
    schema
        Statements that make the tables.
    version
        Of the schema, at least 1.
    title
        What it holds, for people, as the beginning of a sentence.

    Returns
    -------
    sqlite3.Connection
        In autocommit mode, with rows by name, for any thread; what is deleted is overwritten.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    try:
        try:
            return _open(path, schema, version)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            logger.warning("%s is damaged. It was moved aside, and an empty one takes its place.", title)
            move_aside(path)
            return _open(path, schema, version)
    except (sqlite3.Error, OSError) as error:
        raise OutputError(f"{title} cannot be opened.", _ROOM) from error


def move_aside(path: Path) -> None:
    """Give a database and what belongs to it a name that says that it is damaged."""
    moved = time.time()
    for suffix in ("", "-wal", "-shm"):
        file = path.with_name(f"{path.name}{suffix}")
        if file.exists():
            target = file.replace(path.with_name(f"{DAMAGED_PREFIX}{moved:.0f}-{file.name}"))
            target.touch()


class Database:
    """A database that threads share, and other processes may use too.

    Every method raises `OutputError` if the disk does not take it; nothing is then changed.

    Parameters
    ----------
    path, schema, version, title
        See `open_database`; the folder is made with mode 0700.
    """

    def __init__(self, path: Path, schema: str, *, version: int, title: str) -> None:
        self._title = title
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise OutputError(f"{title} cannot be made: {error.strerror}.", _ROOM) from error
        self._connection = open_database(path, schema, version=version, title=title)
        self._lock = threading.RLock()

    def close(self) -> None:
        """Close it."""
        with self._lock:
            self._connection.close()

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """See `transaction`."""
        return transaction(self._connection, self._lock, self._title)


@contextmanager
def transaction(database: sqlite3.Connection, lock: threading.RLock, title: str) -> Iterator[sqlite3.Connection]:
    """Yield the database; what the block changes is kept when it ends well, and all of it taken back if not.

    Parameters
    ----------
    database
        From `open_database`.
    lock
        Of all threads that use it.
    title
        What it holds, for people.

    Raises
    ------
    OutputError
        If the disk does not take it.
    """
    with lock:
        try:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")
        except sqlite3.Error as error:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise unusable(title) from error


def unusable(title: str) -> OutputError:
    """Return the error that a database cannot be used."""
    return OutputError(f"{title} cannot be read or written.", _ROOM)


def _open(path: Path, schema: str, version: int) -> sqlite3.Connection:
    path.touch(mode=0o600)
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        database.row_factory = sqlite3.Row
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON", "foreign_keys = ON"):
            database.execute(f"PRAGMA {pragma}")
        if database.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("quick_check")
        found = database.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, version):
            raise sqlite3.DatabaseError("version")
        if found == 0:
            database.executescript(f"BEGIN; {schema} PRAGMA user_version = {version}; COMMIT;")
    except BaseException:
        database.close()
        raise
    return database
