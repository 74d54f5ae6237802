"""Studies without identity, each wholly or not at all."""

from __future__ import annotations

import shutil
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from covid_bert.deidentification.cleaning import Cleaner
from covid_bert.deidentification.instance import write_instance
from covid_bert.deidentification.project import Project
from covid_bert.deidentification.risks import face_in_view
from covid_bert.deidentification.sources import Found, SeriesFiles, StudyFiles
from covid_bert.errors import BusyError, ConflictError, CovidBertError, InputError, OutputError
from covid_bert.files import sync
from covid_bert.progress import Progress
from covid_bert.volumes import read

LOCK_FILE = ".deidentify.lock"
_UNFINISHED = "unfinished-"


@dataclass(frozen=True)
class Options:
    """What the user asks for beside the Basic Profile.

    Parameters
    ----------
    keep_intervals
        Dates are kept, moved by as many days for all of a person's studies.
    accept_burned_in
        Series whose pixels may hold text are exported all the same.
    """

    keep_intervals: bool = False
    accept_burned_in: bool = False


@dataclass(frozen=True)
class Export:
    """Writes studies of a project into a folder.

    Parameters
    ----------
    target
        Gets ``PSEUDONYM/study-…/series-…/UID.dcm``.
    project
        Gives the pseudonyms.
    options
        What the user asks for.
    """

    target: Path
    project: Project
    options: Options

    @contextmanager
    def own_folder(self) -> Iterator[None]:
        """Make the folder, keep other exports out of it, and clear what a killed one left.

        Raises
        ------
        BusyError
            If another export writes there.
        OutputError
            If it cannot be used.
        """
        lock = FileLock(self.target / LOCK_FILE)
        try:
            self.target.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout as error:
            raise BusyError("Another export writes into this folder.", "Wait for it, or choose another.") from error
        except OSError as error:
            raise OutputError(f"The folder cannot be used: {error.strerror}.", "Choose another.") from error
        try:
            for left in self.target.glob(f".{_UNFINISHED}*"):
                shutil.rmtree(left, ignore_errors=True)
            yield
        finally:
            lock.release()

    def study(self, study: StudyFiles, found: Found, progress: Progress) -> dict[str, Any]:
        """Write a study, and return what the report says of it: pseudonyms and counts, no value of a file.

        Raises
        ------
        InputError
            If the study cannot be exported: damaged, of several persons, or nothing in it may be exported.
        ConflictError
            If it is there already.
        OutputError
            If it cannot be written.
        """
        damage = found.damage_near(study)
        if damage is not None:
            raise damage
        person = _person(study)
        patient, name = self.project.patient(person), self.project.folder("study", study.uid)
        chosen = {uid: series for uid, series in study.series.items() if not self._reasons(series)}
        if not chosen:
            reasons = sorted({reason for series in study.series.values() for reason in self._reasons(series)})
            raise InputError(
                f"No series of the study may be exported ({'; '.join(reasons)}).",
                "If you have looked at derived or secondary images and there is no text in them: --accept-burned-in.",
            )
        final = self.target / patient / name
        if final.exists():
            raise ConflictError(
                f"{patient}/{name} is there already.", "Remove it, or choose another folder; nothing is overwritten."
            )
        cleaner = Cleaner(self.project, person, self.options.keep_intervals)
        unfinished = self.target / f".{_UNFINISHED}{uuid.uuid4().hex}"
        try:
            unfinished.mkdir(mode=0o700)
            written = [
                self._series(uid, series, cleaner, unfinished, progress) for uid, series in sorted(chosen.items())
            ]
            final.parent.mkdir(exist_ok=True)
            unfinished.rename(final)
            sync(final.parent)
        except OSError as error:
            raise OutputError(
                f"The study cannot be written: {error.strerror}.", "Make room, or choose another."
            ) from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        return {
            "patient": patient,
            "study": name,
            "patient_identified": bool(study.patients),
            "series": written,
            "left_out": [
                {"files": len(series.files), "reasons": sorted(self._reasons(series))}
                for uid, series in study.series.items()
                if uid not in chosen
            ],
            "attributes": _by_change(cleaner.changes),
        }

    def _reasons(self, series: SeriesFiles) -> set[str]:
        return series.never | (set() if self.options.accept_burned_in else series.risks)

    def _series(
        self, uid: str, series: SeriesFiles, cleaner: Cleaner, study: Path, progress: Progress
    ) -> dict[str, Any]:
        name = self.project.folder("series", uid)
        folder = study / name
        folder.mkdir()
        with progress.stage("files"):
            for index, file in enumerate(series.files):
                progress.update("files", index / len(series.files))
                sync(write_instance(file, folder, cleaner))
        sync(folder)
        with progress.stage("face"):
            faces = _faces(folder, series)
        return {
            "series": name,
            "files": len(series.files),
            "burned_in_risks_accepted": sorted(series.risks),
            "face_warnings": faces,
        }


def _person(study: StudyFiles) -> str:
    if len(study.patients) > 1:
        raise InputError(
            f"The files of one study name {len(study.patients)} patients.", "Export the study again from the PACS."
        )
    # Without an identifier, studies of one person cannot be told to be of one person.
    return next(iter(study.patients), f"study\0{study.uid}")


def _faces(folder: Path, series: SeriesFiles) -> list[str]:
    """Say why a face may be recognised in a series that was written."""
    found = ""
    if series.images:
        try:
            found = face_in_view(read(folder))
        except CovidBertError:
            found = "It is no regular volume, so nothing tells where the head is: look at the series."
    return sorted(series.faces | ({found} - {""}))


def _by_change(changes: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    for (change, name), count in sorted(changes.items()):
        table.setdefault(change, {})[name] = count
    return table
