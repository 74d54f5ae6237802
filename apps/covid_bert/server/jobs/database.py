"""The folder and SQLite database of the job list: private, for one server, and opened whatever its state."""

from __future__ import annotations

import logging
import sqlite3
import time
from pathlib import Path

from filelock import FileLock, Timeout

from covid_bert.errors import OutputError, ServerError

logger = logging.getLogger(__name__)

DATABASE = "jobs.sqlite"
_DAMAGED = "damaged-"
_VERSION = 1
_SCHEMA = f"""
    CREATE TABLE computation (
        number INTEGER PRIMARY KEY AUTOINCREMENT, folder TEXT NOT NULL, key TEXT, model TEXT NOT NULL,
        borrowed INTEGER NOT NULL, request TEXT, state TEXT NOT NULL, error TEXT, details TEXT,
        params TEXT, files TEXT, started REAL, ended REAL);
    CREATE INDEX computation_key ON computation (key);
    CREATE INDEX computation_state ON computation (state);
    CREATE TABLE job (
        id TEXT PRIMARY KEY, owner TEXT NOT NULL, computation INTEGER NOT NULL REFERENCES computation (number),
        state TEXT, created REAL NOT NULL, ended REAL);
    CREATE INDEX job_computation ON job (computation);
    PRAGMA user_version = {_VERSION};
"""


def private_folder(folder: Path) -> Path:
    """Make a folder that only this user may enter (mode 0700), or make it so.

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
    except OSError as error:
        raise OutputError(
            f"The folder {folder.name} for jobs cannot be made: {error.strerror}.",
            "Free disk space, or see who may write to the program's data folder.",
        ) from error
    return folder


def lock_folder(folder: Path, patience: float) -> FileLock:
    """Take the folder for this process; a process that ends, however it does, gives it back.

    Parameters
    ----------
    folder
        Of the list of jobs.
    patience
        Seconds that another process may still have it, at least 0.

    Raises
    ------
    ServerError
        If another process has it.
    """
    lock = FileLock(folder / "lock", mode=0o600)
    try:
        lock.acquire(timeout=patience)
    except Timeout as error:
        raise ServerError(
            "Another server already serves this folder of studies.", "Stop it first, or choose another folder."
        ) from error
    return lock


def open_database(folder: Path) -> sqlite3.Connection:
    """Open the database, or make it. A damaged one, or one of another version, is moved aside with a warning.

    Parameters
    ----------
    folder
        Locked for this process.

    Returns
    -------
    sqlite3.Connection
        In autocommit mode, with rows by name; what is deleted is overwritten.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    try:
        try:
            return _open(folder / DATABASE)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            logger.warning("The list of jobs is damaged. It was moved aside, and the server starts with an empty one.")
            _move_aside(folder)
            return _open(folder / DATABASE)
    except (sqlite3.Error, OSError) as error:
        raise OutputError(
            "The list of jobs cannot be opened.", "Free disk space, or see who may write to the program's data folder."
        ) from error


def remove_old_damaged(folder: Path, lifetime: float) -> None:
    """Remove databases that were moved aside longer than `lifetime` seconds ago: they name studies."""
    for file in folder.glob(f"{_DAMAGED}*"):
        # A time in the future is one before the clock was set back.
        if not 0 <= time.time() - file.stat().st_mtime < lifetime:
            file.unlink(missing_ok=True)


def _open(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        database.row_factory = sqlite3.Row
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON", "foreign_keys = ON"):
            database.execute(f"PRAGMA {pragma}")
        if database.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("quick_check")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _VERSION):
            raise sqlite3.DatabaseError("version")
        if version == 0:
            database.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
    except BaseException:
        database.close()
        raise
    return database


def _move_aside(folder: Path) -> None:
    moved = time.time()
    for suffix in ("", "-wal", "-shm"):
        file = folder / f"{DATABASE}{suffix}"
        if file.exists():
            target = file.replace(folder / f"{_DAMAGED}{moved:.0f}-{file.name}")
            target.touch()
