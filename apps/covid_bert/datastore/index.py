"""``datastore_v2.json``, in MONAI Label's form: what is known of the studies beside their files.

Every change is made under a lock that all processes share, on what the file then holds, and replaces it whole.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from covid_bert.datastore.names import identifier_of
from covid_bert.errors import BusyError
from covid_bert.files import write_atomically

logger = logging.getLogger(__name__)

INDEX_NAME = "datastore_v2.json"
LABELS_NAME = "labels"
_LOCK_SECONDS = 60.0
# A study's information, as MONAI Label has it: {"image": {"ext", "info"}, "labels": {tag: {"ext", "info"}}}.
Entry = dict[str, Any]


class _Described(BaseModel):
    ext: str = ""
    info: dict[str, Any] = {}


class _Study(BaseModel):
    image: _Described
    labels: dict[str, _Described] = {}


@dataclass(frozen=True)
class Snapshot:
    """What the index held at one moment; never changed.

    Parameters
    ----------
    objects
        Entry by study id.
    name, description
        Of the data set.
    """

    objects: Mapping[str, Entry] = field(default_factory=dict)
    name: str = "new-dataset"
    description: str = "New Dataset"


@dataclass
class Draft:
    """A snapshot that is being changed: entries are replaced by new ones, not changed themselves."""

    objects: dict[str, Entry]
    name: str
    description: str


class Index:
    """The index of one folder.

    Parameters
    ----------
    folder
        Folder with the studies; exists.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / INDEX_NAME
        self._lock = label_lock(folder)
        self._state: tuple[tuple[int, int, int] | None, Snapshot] = (None, Snapshot())
        self._loading = threading.Lock()
        logging.getLogger("filelock").setLevel(logging.WARNING)

    def current(self) -> Snapshot:
        """Return what the index holds; the file is read only when it has changed. A damaged one counts as empty."""
        try:
            return self._load()
        except ValueError:
            return self._state[1]

    @contextmanager
    def changing(self) -> Iterator[Draft]:
        """Yield a draft that is written when the block ends well. No other process changes anything meanwhile.

        A damaged index is first kept aside, and made anew from what this process knows.

        Raises
        ------
        BusyError
            If another process holds the lock for more than a minute.
        OSError
            If the index cannot be written.
        """
        try:
            with self._lock:
                snapshot = self._load_or_keep_aside()
                draft = Draft(dict(snapshot.objects), snapshot.name, snapshot.description)
                yield draft
                changed = Snapshot(draft.objects, draft.name, draft.description)
                if changed != snapshot or not self._path.exists():
                    self._write(changed)
        except Timeout as error:
            raise BusyError(
                "Another program holds the studies' lock.", "Try again later.", retry_after=int(_LOCK_SECONDS)
            ) from error

    def _load(self) -> Snapshot:
        with self._loading:
            signature = self._signature()
            if signature is None:
                self._state = (None, Snapshot())
            elif signature != self._state[0]:
                self._state = (signature, _parse(self._path.read_bytes()))
            return self._state[1]

    def _load_or_keep_aside(self) -> Snapshot:
        try:
            return self._load()
        except ValueError:
            now = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S%fZ")
            aside = self._path.with_name(f"{self._path.stem}.damaged-{now}.json")
            self._path.replace(aside)
            logger.warning("%s is damaged; it was kept as %s and is made anew", INDEX_NAME, aside.name)
            return self._state[1]

    def _write(self, snapshot: Snapshot) -> None:
        content = {
            "name": snapshot.name,
            "description": snapshot.description,
            "images_dir": ".",
            "labels_dir": LABELS_NAME,
            "objects": snapshot.objects,
        }
        text = json.dumps(content)
        with self._loading:
            write_atomically(self._path, text)
            self._state = (self._signature(), snapshot)

    def _signature(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - once for each request
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns


def label_lock(folder: Path) -> FileLock:
    """Return the lock that every change of labels and index holds; MONAI Label's own servers take the same one.

    Taking it raises ``filelock.Timeout`` after a minute.

    Parameters
    ----------
    folder
        Folder with the studies.
    """
    return FileLock(folder / ".lock", timeout=_LOCK_SECONDS)


def _parse(content: bytes) -> Snapshot:
    """Read the index; a study whose record is damaged loses only that.

    Raises
    ------
    ValueError
        If it is no index at all.
    """
    try:
        read = json.loads(content)
    except RecursionError as error:
        raise ValueError("too deep") from error
    if not isinstance(read, dict) or not isinstance(read.get("objects", {}), dict):
        raise ValueError("no index")
    name, description = read.get("name"), read.get("description")
    if not isinstance(name, str) or not isinstance(description, str):
        raise ValueError("no index")
    objects = {}
    for key, value in read.get("objects", {}).items():
        try:
            objects[identifier_of(key)] = _Study.model_validate(value).model_dump()
        except ValidationError:
            logger.warning("The record of a study in %s is damaged and left out", INDEX_NAME)
    return Snapshot(objects, name, description)
