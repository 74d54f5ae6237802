"""The folder and SQLite database of the job list: private, and for one server."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from filelock import FileLock, Timeout

from covid_bert import databases
from covid_bert.databases import DAMAGED_PREFIX
from covid_bert.errors import OutputError, ServerError

DATABASE = "jobs.sqlite"
TITLE = "The list of jobs"
_VERSION = 1
_SCHEMA = """
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
    """Open the database, or make it; see `covid_bert.databases.open_database`.

    Parameters
    ----------
    folder
        Locked for this process.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    return databases.open_database(folder / DATABASE, _SCHEMA, version=_VERSION, title=TITLE)


def remove_old_damaged(folder: Path, lifetime: float) -> None:
    """Remove databases that were moved aside longer than `lifetime` seconds ago: they name studies."""
    for file in folder.glob(f"{DAMAGED_PREFIX}*"):
        # A time in the future is one before the clock was set back.
        if not 0 <= time.time() - file.stat().st_mtime < lifetime:
            file.unlink(missing_ok=True)
