"""What is kept here of an archive: for each series that is offered a folder, and in that its images, once fetched.

    STUDIES/
      .pacs/settings.json       the archive
      .pacs/list.json           what it listed last, and what was found out
      .pacs/incoming/           what is being fetched or removed
      ID/.series.json           which series it is: changed only when the series has
      ID/images/*.dcm           its images, whole or not there

A folder with its record is a study like any other, so that labels, jobs, scores and trainings need not know where its
images come from. The id is a hash: it names neither patient nor series.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from covid_bert.datastore.scan import Scanner
from covid_bert.errors import OutputError
from covid_bert.files import write_private
from covid_bert.pacs.settings import OWN_FOLDER
from covid_bert.volumes.study_files import STATE_FILE

IMAGES = "images"
_PREFIX = "series-"
# Whoever was given the images less than so long ago may still be reading them.
_IN_USE_SECONDS = 300.0
_MEBIBYTE = 2**20
_LEFT_FREE_BYTES = 512 * _MEBIBYTE
# An archive may have tens of thousands of series: nobody wants all of them fetched to choose the next study.
_SAMPLE = 200


class SeriesRecord(BaseModel):
    """Which series of the archive a study is.

    Parameters
    ----------
    study, series
        StudyInstanceUID and SeriesInstanceUID.
    instances
        Number of its files in the archive.
    bytes
        What they take at most where they are not compressed; 0 where that is not known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str
    series: str
    instances: int = Field(ge=1)
    bytes: int = Field(default=0, ge=0)


def identifier_of_series(series: str) -> str:
    """Return the id of a series as a study."""
    return f"{_PREFIX}{hashlib.sha256(series.encode()).hexdigest()[:24]}"


def read_record(image: Path) -> SeriesRecord | None:
    """Return which series a study is; None for one that is not of an archive."""
    try:
        return SeriesRecord.model_validate_json((image / STATE_FILE).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None


def free_bytes(folder: Path) -> int:
    """Return how much of the disk images may still take; labels and results need room, too."""
    return shutil.disk_usage(folder).free - _LEFT_FREE_BYTES


def no_room() -> OutputError:
    """Return the error of a disk that is too full for images."""
    return OutputError("The server's disk has no room for this series.", "Make room on it.")


def worth_fetching(studies: Mapping[str, Path]) -> dict[str, Path]:
    """Leave out series of an archive whose images would be fetched for nothing but their scores, except for a sample.

    Parameters
    ----------
    studies
        Folder of each study by its id, those first that matter most; ids are hashes, so that the first are a sample.

    Returns
    -------
    dict
        The sample, the series whose images are here, and studies that are not of an archive, in their order.
    """
    return {
        identifier: image
        for place, (identifier, image) in enumerate(studies.items())
        if place < _SAMPLE or (image / IMAGES).is_dir() or not (image / STATE_FILE).is_file()
    }


class Kept:
    """The folders of an archive's series.

    Parameters
    ----------
    studies
        Folder with the studies.
    """

    def __init__(self, studies: Path) -> None:
        self._studies = studies
        self._incoming = studies / OWN_FOLDER / "incoming"

    def offer(self, record: SeriesRecord) -> bool:
        """Make a series a study, or note that it has changed: what was fetched of it before is removed.

        Returns
        -------
        bool
            Whether that is done; False while the series is being fetched.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        image = self._studies / identifier_of_series(record.series)
        if read_record(image) == record:
            return True
        try:
            with self.lock(image).acquire(timeout=0):
                image.mkdir(mode=0o700, exist_ok=True)
                self.drop(image)
                write_private(image / STATE_FILE, record.model_dump_json())
        except Timeout:
            return False
        return True

    def lock(self, image: Path) -> FileLock:
        """Return the lock that whoever fetches a series, or changes its record, holds."""
        locks = self._studies / OWN_FOLDER / "locks"
        locks.mkdir(parents=True, exist_ok=True, mode=0o700)
        return FileLock(locks / f"{image.name}.lock", mode=0o600)

    def names(self) -> set[str]:
        """Return the ids of the series that have a folder."""
        with os.scandir(self._studies) as entries:
            return {entry.name for entry in entries if entry.name.startswith(_PREFIX)}

    def withdraw(self, offered: Iterable[str]) -> None:
        """Remove the folders of all series but these, for example because the archive has them no more.

        Labels stay, as those of every study whose file is away.

        Parameters
        ----------
        offered
            Ids of the series that stay.

        Raises
        ------
        OSError
            If one cannot be removed.
        """
        kept = set(offered)
        for image in self._folders():
            if image.name not in kept:
                self._remove(image)

    def drop(self, image: Path) -> None:
        """Remove the images of a series; it is still offered."""
        if (image / IMAGES).is_dir():
            self._remove(image / IMAGES)

    @contextlib.contextmanager
    def incoming(self) -> Iterator[Path]:
        """Yield a new folder for images; what is left in it at the end is removed."""
        folder = self._incoming / uuid.uuid4().hex
        folder.mkdir(parents=True, mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def tidy(self) -> None:
        """Remove what killed processes left half fetched or half removed; nobody may be fetching."""
        for folder in self._incoming.glob("*"):
            shutil.rmtree(folder, ignore_errors=True)

    def forget(self, hours: float) -> None:
        """Remove images that were not used for that long."""
        oldest = time.time() - hours * 3600
        for used, _, image in self._fetched():
            if used < oldest:
                self.drop(image)

    def make_room(self, wanted: int, most_megabytes: int) -> None:
        """Remove images, those that were used longest ago first, until new ones find room.

        Those of labelled studies stay, and do not count: trainings read them.

        Parameters
        ----------
        wanted
            Bytes that come.
        most_megabytes
            Most of all that are not labelled.

        Raises
        ------
        OutputError
            If the disk has no room, or all images are being read.
        """
        free = free_bytes(self._studies)
        fetched = sorted(self._fetched())
        left = sum(size for _, size, _ in fetched)
        for used, size, image in fetched:
            if (left + wanted <= most_megabytes * _MEBIBYTE and wanted < free) or used > time.time() - _IN_USE_SECONDS:
                break
            self.drop(image)
            left -= size
            free += size
        if wanted >= free:
            raise no_room()
        if left + wanted > most_megabytes * _MEBIBYTE:
            raise OutputError(
                "The place for images of the archive is full of series that are being used.",
                "Try again in some minutes; pacs_cache_megabytes makes the place larger.",
                retry_after=60,
            )

    def _fetched(self) -> list[tuple[float, int, Path]]:
        """When each series was used last, how many bytes it takes, and where; those that are labelled left out."""
        labelled = {identifier for names in Scanner(self._studies).labels().values() for identifier in names}
        found = []
        for image in self._folders():
            with contextlib.suppress(OSError):
                if image.name not in labelled and (image / IMAGES).is_dir():
                    sizes = [entry.stat().st_size for entry in os.scandir(image / IMAGES)]
                    found.append(((image / IMAGES).stat().st_mtime, sum(sizes), image))
        return found

    def _folders(self) -> list[Path]:
        return sorted(path for path in self._studies.glob(f"{_PREFIX}*") if (path / STATE_FILE).is_file())

    def _remove(self, folder: Path) -> None:
        # At once for all who look, also if removing the files is cut off.
        away = self._incoming / uuid.uuid4().hex
        self._incoming.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.replace(away)
        shutil.rmtree(away, ignore_errors=True)
