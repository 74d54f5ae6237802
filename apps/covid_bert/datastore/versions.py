"""Every version of every label: a file that is never changed again, and a record of who saved it and when.

A version exists from the moment that its record does; the record is written last.
"""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from covid_bert.datastore.names import LabelTag
from covid_bert.errors import NotFoundError
from covid_bert.files import replacing, sync, write_atomically
from covid_bert.weights.files import sha256_of

logger = logging.getLogger(__name__)

VERSIONS_NAME = ".versions"
_RECORD = re.compile(r"(\d{6})\.json")
_NUMBERED = re.compile(r"(\d{6})\D.*")


class Version(BaseModel):
    """The record of one version.

    Parameters
    ----------
    number
        From 1, without gaps except where a save failed.
    author
        Name of the token it was saved with, of the model that made it, or ``unknown`` for a file that was put there.
    created
        When it was saved, in UTC (ISO 8601).
    removed
        Whether this version says that the label was taken away; it has no file.
    suffix, sha256, size
        Of the file; size in bytes.
    info
        What the client sent along.
    """

    model_config = ConfigDict(frozen=True)

    number: int = Field(ge=1)
    author: str
    created: str
    removed: bool = False
    suffix: str = ""
    sha256: str = ""
    size: int = 0
    info: dict[str, Any] = Field(default_factory=dict)

    @property
    def file_name(self) -> str:
        """Name of the file beside the record."""
        # The data of a study label would else have its record's name.
        return f"{self.number:06d}.data{self.suffix}"


class Versions:
    """The versions of all labels in one folder. Writing needs the index's lock.

    Parameters
    ----------
    labels
        Folder of the labels.
    """

    def __init__(self, labels: Path) -> None:
        self._root = labels / VERSIONS_NAME

    def history(self, tag: LabelTag, identifier: str) -> list[Version]:
        """Return the versions of a label, the first one first. Damaged records are left out with a warning."""
        return list(self._newest_first(tag, identifier))[::-1]

    def damaged(self, tag: LabelTag, identifier: str) -> list[int]:
        """Return the numbers of versions whose record cannot be read."""
        intact = {version.number for version in self._newest_first(tag, identifier)}
        return sorted(_numbers(self._folder(tag, identifier), _RECORD) - intact)

    def newest(self, tag: LabelTag, identifier: str) -> Version | None:
        """Return the newest version of a label, or None if it has none."""
        return next(self._newest_first(tag, identifier), None)

    def find(self, tag: LabelTag, identifier: str, number: int) -> Version:
        """Return one version with a file.

        Raises
        ------
        NotFoundError
            If there is none with that number.
        """
        for version in self.history(tag, identifier):
            if version.number == number and not version.removed:
                return version
        raise NotFoundError("The label has no such version.", "Ask for the list with GET /datastore/label/versions.")

    def path(self, tag: LabelTag, identifier: str, version: Version) -> Path:
        """Return where the file of a version lies."""
        return self._folder(tag, identifier) / version.file_name

    def add(
        self, tag: LabelTag, identifier: str, file: Path, suffix: str, author: str, info: dict[str, Any]
    ) -> Version:
        """Keep a copy of a file as the newest version.

        Raises
        ------
        OSError
            If it cannot be written; there is no new version then.
        """
        folder = self._folder(tag, identifier)
        folder.mkdir(parents=True, exist_ok=True)
        number = 1 + max(_numbers(folder, _NUMBERED), default=0)
        version = Version(
            number=number, author=author, created=_now(), suffix=suffix, sha256=sha256_of(file),
            size=file.stat().st_size, info=info,
        )  # fmt: skip
        with replacing(folder / version.file_name) as temporary:
            shutil.copyfile(file, temporary)
        self._record(folder, version)
        return version

    def add_removal(self, tag: LabelTag, identifier: str, author: str) -> Version:
        """Note that a label was taken away; its versions stay."""
        folder = self._folder(tag, identifier)
        number = 1 + max(_numbers(folder, _NUMBERED), default=0)
        version = Version(number=number, author=author, created=_now(), removed=True)
        self._record(folder, version)
        return version

    def discard(self, tag: LabelTag, identifier: str, version: Version) -> None:
        """Take back a version that could not be published."""
        folder = self._folder(tag, identifier)
        (folder / f"{version.number:06d}.json").unlink(missing_ok=True)
        (folder / version.file_name).unlink(missing_ok=True)

    def forget(self, identifier: str) -> None:
        """Remove all versions of all labels of a study."""
        for tag in LabelTag:
            folder = self._folder(tag, identifier)
            if folder.exists():
                shutil.rmtree(folder)

    def labels(self) -> Iterator[tuple[LabelTag, str]]:
        """Yield tag and study id of every label that has versions."""
        for tag in LabelTag:
            with contextlib.suppress(FileNotFoundError):
                for folder in sorted((self._root / tag.value).iterdir()):
                    yield tag, folder.name

    def tidy(self, tag: LabelTag, identifier: str) -> None:
        """Remove what a save that was cut off has left: files without a record."""
        folder = self._folder(tag, identifier)
        recorded = _numbers(folder, _RECORD)
        for path in folder.iterdir():
            numbered = _NUMBERED.fullmatch(path.name)
            if numbered is None or int(numbered[1]) not in recorded:
                path.unlink()

    def _newest_first(self, tag: LabelTag, identifier: str) -> Iterator[Version]:
        folder = self._folder(tag, identifier)
        for number in sorted(_numbers(folder, _RECORD), reverse=True):
            try:
                yield Version.model_validate_json((folder / f"{number:06d}.json").read_bytes())
            except (ValidationError, OSError):
                logger.warning("The record of version %d of a label is damaged and left out", number)

    def _record(self, folder: Path, version: Version) -> None:
        try:
            write_atomically(folder / f"{version.number:06d}.json", version.model_dump_json())
            sync(folder.parent)
        except OSError:
            (folder / version.file_name).unlink(missing_ok=True)
            raise

    def _folder(self, tag: LabelTag, identifier: str) -> Path:
        return self._root / tag.value / identifier


def _numbers(folder: Path, pattern: re.Pattern[str]) -> set[int]:
    try:
        return {int(matched[1]) for path in folder.iterdir() if (matched := pattern.fullmatch(path.name))}
    except FileNotFoundError:
        return set()


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
