"""Studies from a folder that others write to: DICOM files, in folders or not, and zip files of them.

The folder is looked through at intervals. The system's own notices of changes (inotify and the like) do not tell of
what another computer writes to a shared folder, and do not say that a file is complete: a file is taken once it has not
changed for a while. What was taken is remembered in the queue's folder; the files themselves are left alone.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from covid_bert.databases import Database
from covid_bert.errors import InputError, OutputError, UnreadableFileError
from covid_bert.router.spool import Identity, Spool, identify
from covid_bert.volumes.archive import unpacked
from covid_bert.volumes.dicom_files import is_dicom
from covid_bert.volumes.dicom_headers import files_below

logger = logging.getLogger(__name__)

ORIGIN = "folder"
_SCHEMA = """
    CREATE TABLE file (name TEXT PRIMARY KEY, state TEXT NOT NULL, error TEXT) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class _Seen:
    """A file as it was when it was first seen so."""

    state: str
    since: float


class WatchedFolder:
    """A folder that studies are taken from.

    Parameters
    ----------
    folder
        The folder; its subfolders belong to it.
    spool
        Where the files go.
    settle
        Seconds that a file has to stay as it is before it is taken.
    """

    def __init__(self, folder: Path, spool: Spool, *, settle: float) -> None:
        self._folder, self._spool, self._settle = folder, spool, settle
        self._seen: dict[str, _Seen] = {}
        self._taken = Database(
            spool.folder / "taken.sqlite", _SCHEMA, version=1, title="The list of files that were taken"
        )

    def close(self) -> None:
        """Close the list of what was taken."""
        self._taken.close()

    def look(self, now: float) -> int:
        """Take what is complete, and return how many new files of studies that were.

        Parameters
        ----------
        now
            Seconds, of a clock that only goes forward.

        Raises
        ------
        OutputError
            If the folder cannot be read, or the disk does not take a file; it is tried again.
        """
        if not self._folder.is_dir():
            raise OutputError("The watched folder is not there.", "Make it, or connect its disk.")
        there: dict[str, _Seen] = {}
        present, known, new = set(), self._known(), 0
        for path in files_below(self._folder):
            # Names of files may be those of patients.
            name = hashlib.sha256(str(path.relative_to(self._folder)).encode("utf-8", "surrogateescape")).hexdigest()
            state = _state(path)
            present.add(name)
            if state is None or known.get(name) == state:
                continue
            before = self._seen.get(name)
            seen = before if before is not None and before.state == state else _Seen(state, now)
            there[name] = seen
            if now - seen.since >= self._settle:
                new += self._take(path, name, state)
        self._seen = there
        self._forget(known.keys() - present)
        return new

    def refused(self) -> int:
        """How many of the files could not be used."""
        with self._taken.transaction() as database:
            return int(database.execute("SELECT COUNT(*) FROM file WHERE error IS NOT NULL").fetchone()[0])

    def _take(self, path: Path, name: str, state: str) -> int:
        """Take a file or the files of a zip; one that cannot be used is remembered as such."""
        error, new = None, 0
        try:
            new = sum(self._spool.put(*found, ORIGIN, keep=True, transfer=False) for found in _files_of(path))
        except InputError as problem:
            error = problem.code
            logger.warning("A file of the watched folder cannot be used: %s", problem.code)
        if _state(path) != state:
            # It changed while it was read: what was taken of it was not yet all.
            return new
        with self._taken.transaction() as database:
            database.execute("INSERT OR REPLACE INTO file VALUES (?, ?, ?)", (name, state, error))
        return new

    def _known(self) -> dict[str, str]:
        with self._taken.transaction() as database:
            return {row["name"]: row["state"] for row in database.execute("SELECT name, state FROM file")}

    def _forget(self, gone: set[str]) -> None:
        if gone:
            with self._taken.transaction() as database:
                database.executemany("DELETE FROM file WHERE name = ?", [(name,) for name in gone])


def _files_of(path: Path) -> Iterator[tuple[Path, Identity]]:
    """Yield the CT images of a DICOM file or a zip file; none where it is something else."""
    if path.suffix.lower() == ".zip":
        with unpacked(path) as folder:
            found = [each for file in files_below(folder) for each in _image(file)]
            if not found:
                raise UnreadableFileError("A zip file holds no CT images.", "Pack the DICOM files of a chest CT.")
            yield from found
    else:
        yield from _image(path)


def _image(path: Path) -> Iterator[tuple[Path, Identity]]:
    if is_dicom(path) and (identity := identify(path)).is_ct:
        yield path, identity


def _state(path: Path) -> str | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return f"{status.st_size} {status.st_mtime_ns}"
