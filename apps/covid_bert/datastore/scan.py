"""What lies in the folder of studies: files and folders that are studies, and masks that belong to them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from covid_bert.datastore.index import LABELS_NAME
from covid_bert.datastore.names import MASK_SUFFIXES, LabelTag, identifier_of, split_name

logger = logging.getLogger(__name__)

# Folders are only looked into until a file turns up; this bounds the walk through empty ones.
_LOOKED_AT = 10_000
STUDY_LABEL_SUFFIX = ".json"


@dataclass(frozen=True)
class Found:
    """A study in the folder.

    Parameters
    ----------
    name
        Of the file or folder.
    suffix
        Known suffix of a file; empty for a folder.
    size
        Of a file in bytes; 0 for a folder.
    time
        When it was last written, in seconds since 1970.
    """

    name: str
    suffix: str
    size: int
    time: int


class Scanner:
    """Looks for studies in a folder.

    Parameters
    ----------
    folder
        Folder with the studies.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Folders that hold files, with the time of their last change: not walked through again.
        self._with_files: dict[str, int] = {}
        # Folders in which a file may yet appear: the folder of studies does not change when it does.
        self.empty: tuple[Path, ...] = ()

    def studies(self) -> dict[str, Found]:
        """Return the studies by id.

        Inputs whose ids are equal are all left out: which of them was meant cannot be told.
        """
        self.empty = ()
        found: dict[str, list[Found]] = {}
        for identifier, study in self._inputs():
            found.setdefault(identifier, []).append(study)
        ambiguous = sum(len(group) for group in found.values() if len(group) > 1)
        if ambiguous:
            logger.warning(
                "%d inputs share their name with another one of a different format and are not offered: rename them",
                ambiguous,
            )
        return {identifier: group[0] for identifier, group in sorted(found.items()) if len(group) == 1}

    def labels(self) -> dict[LabelTag, Mapping[str, tuple[str, ...]]]:
        """Return the names of label files by tag and id."""
        return {tag: _label_names(self._folder / LABELS_NAME / tag.value, tag) for tag in LabelTag}

    def _inputs(self) -> Iterator[tuple[str, Found]]:
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name == LABELS_NAME:
                    continue
                try:
                    study = self._study(entry)
                except OSError:
                    logger.warning("A study cannot be read and is not offered")
                    continue
                if study is not None:
                    yield identifier_of(split_name(entry.name)[0] if study.suffix else entry.name), study

    def _study(self, entry: os.DirEntry[str]) -> Found | None:
        if entry.is_dir():
            state = entry.stat()
            if self._with_files.get(entry.name) != state.st_mtime_ns:
                inside = list(islice(_until_file(Path(entry.path)), _LOOKED_AT))
                if not inside or not inside[-1].is_file():
                    self.empty = (*self.empty, Path(entry.path), *inside)
                    return None
                self._with_files[entry.name] = state.st_mtime_ns
            return Found(entry.name, "", 0, int(state.st_mtime))
        suffix = split_name(entry.name)[1]
        if not suffix or not entry.is_file():
            return None
        state = entry.stat()
        return Found(entry.name, suffix, state.st_size, int(state.st_mtime))


def _until_file(folder: Path) -> Iterator[Path]:
    """Yield what is in a folder; the first file ends it."""
    for path in folder.rglob("*"):
        yield path
        if path.is_file():
            return


def _label_names(folder: Path, tag: LabelTag) -> dict[str, tuple[str, ...]]:
    suffixes = (STUDY_LABEL_SUFFIX,) if tag is LabelTag.STUDY else MASK_SUFFIXES
    names: dict[str, tuple[str, ...]] = {}
    try:
        listed = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
    except FileNotFoundError:
        return {}
    for name in listed:
        stem, suffix = split_name(name, suffixes)
        if suffix and not name.startswith("."):
            identifier = identifier_of(stem)
            names[identifier] = (*names.get(identifier, ()), name)
    return names
