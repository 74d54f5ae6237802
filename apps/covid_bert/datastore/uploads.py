"""Images that arrive: written where no study is looked for, known by their content, then moved in one step."""

from __future__ import annotations

import logging
import shutil
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from covid_bert.datastore.index import Entry
from covid_bert.datastore.scan import Found
from covid_bert.errors import ConflictError
from covid_bert.weights.files import remembered_sha256

logger = logging.getLogger(__name__)

STAGING_NAME = ".incoming"


class Staging:
    """A folder for unfinished files, beside the studies so that a file can be moved without copying.

    Each process has its own, with a lock that ends with the process.

    Parameters
    ----------
    folder
        Folder with the studies.
    """

    def __init__(self, folder: Path) -> None:
        self._root = folder / STAGING_NAME
        self._own = self._root / uuid.uuid4().hex
        self._held: FileLock | None = None
        self._making = threading.Lock()

    def sweep(self) -> None:
        """Remove what processes that have ended left behind."""
        if not self._root.is_dir():
            return
        for lock_file in self._root.glob("*.lock"):
            lock = FileLock(lock_file)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            shutil.rmtree(lock_file.with_suffix(""), ignore_errors=True)
            lock_file.unlink(missing_ok=True)
            lock.release()

    @contextmanager
    def file(self, suffix: str) -> Iterator[Path]:
        """Yield a path for a new file; what is still there afterwards is removed.

        Raises
        ------
        OSError
            If the folder cannot be made.
        """
        with self._making:
            if self._held is None:
                self._root.mkdir(mode=0o700, exist_ok=True)
                self._held = FileLock(self._own.with_suffix(".lock"), thread_local=False)
                self._held.acquire()
                self._own.mkdir(mode=0o700)
        path = self._own / f"{uuid.uuid4().hex}{suffix}"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove this process's folder, at its end; an upload that is still being written fails."""
        with self._making:
            if self._held is not None:
                shutil.rmtree(self._own, ignore_errors=True)
                self._own.with_suffix(".lock").unlink(missing_ok=True)
                self._held.release()
                self._held = None


def known_content(
    folder: Path, file: tuple[int, str], studies: Mapping[str, Found], objects: Mapping[str, Entry]
) -> str | None:
    """Return the id of the study that an image is already known as, or None.

    Files that were put into the folder are hashed when something of their size arrives for the first time.

    Parameters
    ----------
    folder
        Folder with the studies.
    file
        Size in bytes and SHA-256 of the image that arrived.
    studies, objects
        Studies in the folder, and what the index holds of them.
    """
    size, sha256 = file
    for identifier, found in studies.items():
        if found.suffix and found.size == size and _sha256(folder / found.name, objects.get(identifier)) == sha256:
            return identifier
    return None


def _sha256(path: Path, known: Entry | None) -> str:
    info = known["image"]["info"] if known is not None else {}
    if info.get("sha256") and info.get("file_time") == path.stat().st_mtime_ns:
        return str(info["sha256"])
    return remembered_sha256(path)


def free_identifier(
    wanted: str, sha256: str, studies: Mapping[str, Found], objects: Mapping[str, Entry], *, chosen: bool
) -> str:
    """Return the id for a new image.

    Parameters
    ----------
    wanted
        The id that the user chose, or the one that follows from the file's name.
    sha256
        Of the content, which no study has yet.
    studies, objects
        Studies in the folder, and what the index holds; an id stays taken when its file is away.
    chosen
        Whether the user chose it. If not, an id that is taken gets some digits of the hash.

    Raises
    ------
    ConflictError
        If the chosen id is that of another image.
    """
    # Some file systems do not tell small letters from capitals.
    taken = {identifier.casefold() for names in (studies, objects) for identifier in names}
    if wanted.casefold() not in taken:
        return wanted
    away = objects.get(wanted) if wanted.casefold() not in {name.casefold() for name in studies} else None
    if away is not None and away["image"]["info"].get("sha256") == sha256:
        return wanted
    longer = f"{wanted[:110]}-{sha256[:12]}"
    if chosen or longer.casefold() in taken:
        raise ConflictError(
            "Another image has that id.", "Leave the id out, or choose another; a study is never overwritten."
        )
    return longer
