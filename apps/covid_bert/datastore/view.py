"""The studies as they are offered: the files in the folder, joined with what the index knows of them."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from covid_bert.datastore.index import LABELS_NAME, Entry, Index, Snapshot
from covid_bert.datastore.names import MASK_SUFFIXES, LabelTag, split_name
from covid_bert.datastore.scan import STUDY_LABEL_SUFFIX, Found, Scanner

# Changes within one tick of the file system's clock cannot be told apart; a folder this young is looked at again.
_SETTLED_NANOSECONDS = 2 * 10**9


@dataclass(frozen=True)
class View:
    """What is offered at one moment; never changed.

    Parameters
    ----------
    snapshot
        Of the index.
    studies
        Found in the folder, by id.
    label_names
        Names of label files by tag and study id.
    """

    snapshot: Snapshot
    studies: Mapping[str, Found]
    label_names: Mapping[LabelTag, Mapping[str, tuple[str, ...]]]

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """Image and labels of each study, in MONAI Label's form. An index entry whose file is away is not offered."""
        return {identifier: self._entry(identifier, found) for identifier, found in self.studies.items()}

    @cached_property
    def listing(self) -> bytes:
        """The whole list as MONAI Label's JSON."""
        return json.dumps(self.to_json()).encode()

    def to_json(self) -> dict[str, Any]:
        """Return the list in MONAI Label's form."""
        return {
            "name": self.snapshot.name,
            "description": self.snapshot.description,
            "images_dir": ".",
            "labels_dir": LABELS_NAME,
            "objects": self.entries,
        }

    def _entry(self, identifier: str, found: Found) -> Entry:
        known = self.snapshot.objects.get(identifier)
        info = known["image"]["info"] if known is not None else {}
        known_labels = known["labels"] if known is not None else {}
        labels = {}
        for tag, names in self.label_names.items():
            if identifier in names:
                labels[tag.value] = _label(names[identifier], known_labels.get(tag.value), tag)
        return {
            "image": {"ext": found.suffix, "info": {"ts": found.time, **info, "name": found.name}},
            "labels": labels,
        }


class LiveView:
    """Follows the folder: looks at it again when it has changed.

    Parameters
    ----------
    folder
        Folder with the studies.
    index
        Its index.
    follow
        Whether to notice files that others put there; if not, only `refresh` does.
    """

    def __init__(self, folder: Path, index: Index, *, follow: bool) -> None:
        self._watched = [folder, folder / LABELS_NAME, *(folder / LABELS_NAME / tag.value for tag in LabelTag)]
        self._index = index
        self._follow = follow
        self._scanner = Scanner(folder)
        self._times: tuple[int, ...] | None = None
        self._view: View | None = None
        self._looking = threading.Lock()

    def get(self) -> View:
        """Return what is offered now."""
        with self._looking:
            view = self._view
            times = self._folder_times() if self._follow or self._times is None else self._times
            if view is None or self._times is None or times != self._times:
                view = self._scanned(times)
            snapshot = self._index.current()
            if snapshot is not view.snapshot:
                view = View(snapshot, view.studies, view.label_names)
            self._view = view
            return view

    def refresh(self) -> View:
        """Look at the folder again, and return what is offered."""
        with self._looking:
            self._view = self._scanned(self._folder_times())
            return self._view

    def outdate(self) -> None:
        """Let the next one who asks look at the folder again."""
        with self._looking:
            self._times = None

    def _scanned(self, times: tuple[int, ...] | None) -> View:
        # The times are those from before: a change during the look is noticed by the next one.
        self._times = times
        return View(self._index.current(), self._scanner.studies(), self._scanner.labels())

    def _folder_times(self) -> tuple[int, ...] | None:
        times = tuple(_time(folder) for folder in (*self._watched, *self._scanner.empty))
        return None if self._follow and max(times) > time.time_ns() - _SETTLED_NANOSECONDS else times


def _label(names: tuple[str, ...], known: Entry | None, tag: LabelTag) -> Entry:
    info = known["info"] if known is not None else {}
    if info.get("name") in names:
        return {"ext": known["ext"] if known is not None else "", "info": info}
    suffixes = (STUDY_LABEL_SUFFIX,) if tag is LabelTag.STUDY else MASK_SUFFIXES
    return {"ext": split_name(names[0], suffixes)[1], "info": {"name": names[0]}}


def _time(folder: Path) -> int:
    try:
        return os.stat(folder).st_mtime_ns  # noqa: PTH116 - many times for each request
    except FileNotFoundError:
        return 0
