"""The list of an archive's series, looked at again every few seconds in the background.

What is known of a series is kept as long as the number of its images stays: only new and changed ones are looked into.
A series is offered once its number of images has been the same twice. When the archive does not answer, the last list
stays, with its age.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from covid_bert.errors import CovidBertError, InternalError, NotFoundError, OutputError, UnreadableFileError
from covid_bert.files import write_private
from covid_bert.pacs.dicomweb import Pacs
from covid_bert.pacs.errors import PacsSlowError
from covid_bert.pacs.kept import Kept, SeriesRecord, identifier_of_series
from covid_bert.pacs.listed import ListedSeries
from covid_bert.pacs.selection import Refusal, Verdict, judge, judge_listed
from covid_bert.pacs.settings import OWN_FOLDER, PacsSettings

logger = logging.getLogger(__name__)

_LIST_NAME = "list.json"
# An archive is asked for its list for at most a tenth of the time.
_SHARE = 10.0
_LONGEST_PAUSE = 30.0
_FORGET_SECONDS = 3600.0
# Series that are looked into before the list is told: the first look at a large archive takes many.
_AT_A_TIME = 200


class KnownSeries(BaseModel):
    """What was found out about a series.

    Parameters
    ----------
    study, series
        StudyInstanceUID and SeriesInstanceUID.
    instances
        That the archive listed; None where it does not say.
    files
        That it has.
    refusal
        Why it is not offered; None if it is.
    bytes
        See `SeriesRecord`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str
    series: str
    instances: int | None
    files: int
    refusal: Refusal | None
    bytes: int = 0


class _KeptList(BaseModel):
    series: list[KnownSeries]


class Following:
    """Follows the list of an archive; the folders of the series follow it.

    Parameters
    ----------
    studies
        Folder with the studies.
    settings
        The archive.
    pacs
        Asks it; closed at the end.
    """

    def __init__(self, studies: Path, settings: PacsSettings, pacs: Pacs) -> None:
        self._path = studies / OWN_FOLDER / _LIST_NAME
        self._settings, self._pacs, self._kept = settings, pacs, Kept(studies)
        self._known, self._time = self._read()
        self._arriving: dict[str, int | None] = {}
        self._offered: dict[str, SeriesRecord] = {}
        self._unjudged = 0
        self._error: CovidBertError | None = None
        self._tried = self._list_seconds = 0.0
        self._looked, self._news, self._closing = threading.Event(), threading.Event(), threading.Event()
        self._forget_at = 0.0
        self._thread = threading.Thread(target=self._follow, name="archive", daemon=True)

    def start(self) -> None:
        """Begin to follow, after removing what an earlier server left unfinished."""
        self._kept.tidy()
        self._thread.start()

    def close(self) -> None:
        """End, once the request under way is answered or its time is over."""
        self._closing.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(self._pacs.limits.read_seconds + self._pacs.limits.connect_seconds)
        self._pacs.close()

    def require(self, seconds: float) -> None:
        """Return if there is a list, however old.

        Parameters
        ----------
        seconds
            How long the first one is waited for.

        Raises
        ------
        CovidBertError
            If there never was one: why.
        """
        if time.monotonic() - self._tried > self._settings.refresh_seconds:
            self._news.set()
        if self._time is None:
            self._looked.wait(seconds)
        if self._time is None:
            raise self._error or PacsSlowError("The archive has not answered yet.", "Try again soon.", retry_after=5)

    def to_json(self) -> dict[str, Any]:
        """Return how the archive is, and what of its list is offered; no address, no name, no identifier."""
        refused = Counter(series.refusal.value for series in self._known.values() if series.refusal is not None)
        return {
            **self._pacs.state.to_json(),
            "list_age_seconds": None if self._time is None else round(max(0.0, time.time() - self._time), 1),
            "offered": len(self._known) - refused.total(),
            "refused": dict(refused),
            "arriving": len(self._arriving) - self._unjudged,
            "not_looked_at": self._unjudged,
        }

    def refresh(self) -> None:
        """Look at the list once.

        Raises
        ------
        PacsError
            If the archive does not answer as it should; what was found out before that is kept.
        OutputError
            If a folder of a series cannot be written.
        """
        self._tried = time.monotonic()
        listed, complete = self._pacs.ct_series()
        self._list_seconds = time.monotonic() - self._tried
        known: dict[str, KnownSeries] = {} if complete else dict(self._known)
        todo: list[ListedSeries] = []
        self._arriving, waiting = {}, self._arriving
        for series in listed:
            before = self._known.get(series.series)
            if before is not None:
                known[series.series] = before
                if (before.study, before.instances) == (series.study, series.instances):
                    continue
            # Nobody waits for what was there before this program.
            if self._time is None or waiting.get(series.series, -1) == series.instances:
                todo.append(series)
            self._arriving[series.series] = series.instances
        self._unjudged = len(todo)
        try:
            for series in todo[:_AT_A_TIME]:
                if self._closing.is_set():
                    return
                found = self._found(series)
                if found is not None:
                    known[series.series] = found
                del self._arriving[series.series]
                self._unjudged -= 1
        finally:
            self._keep(known)

    def _found(self, series: ListedSeries) -> KnownSeries | None:
        """Look into a series; None if it has gone meanwhile."""
        try:
            verdict, files = self._judged(series)
        except NotFoundError:
            return None
        except UnreadableFileError:
            verdict, files = Verdict(Refusal.UNREADABLE), 0
        return KnownSeries(
            study=series.study,
            series=series.series,
            instances=series.instances,
            files=files,
            refusal=verdict.refusal,
            bytes=verdict.bytes,
        )

    def _judged(self, series: ListedSeries) -> tuple[Verdict, int]:
        refusal = judge_listed(series)
        if refusal is not None:
            return Verdict(refusal), 0
        files = series.instances
        if files is None:
            files = self._pacs.count(series.study, series.series)
        headers = self._pacs.headers(series.study, series.series, files // 2)
        return judge(replace(series, instances=files), headers), files

    def _keep(self, known: dict[str, KnownSeries]) -> None:
        """Let the folders follow the list, and keep it for the next start."""
        records = {
            identifier_of_series(one.series): SeriesRecord(
                study=one.study, series=one.series, instances=one.files, bytes=one.bytes
            )
            for one in known.values()
            if one.refusal is None
        }
        try:
            there = self._kept.names()
            for identifier, record in records.items():
                if identifier in there and self._offered.get(identifier) == record:
                    continue
                if self._kept.offer(record):
                    self._offered[identifier] = record
            if there - set(records):
                self._kept.withdraw(records)
            if known != self._known or not self._path.exists():
                write_private(self._path, _KeptList(series=list(known.values())).model_dump_json())
            else:
                os.utime(self._path)
        except OSError as error:
            raise OutputError(
                f"The list of the archive cannot be kept: {error.strerror}.", "Make room on the server's disk."
            ) from error
        self._known, self._time = known, time.time()

    def _read(self) -> tuple[dict[str, KnownSeries], float | None]:
        """What an earlier server knew, and when."""
        try:
            kept = _KeptList.model_validate_json(self._path.read_bytes())
            return {one.series: one for one in kept.series}, self._path.stat().st_mtime
        except (OSError, ValidationError):
            return {}, None

    def _follow(self) -> None:
        failures, told = 0, ""
        while not self._closing.is_set():
            self._news.clear()
            self._error = self._refreshed()
            self._looked.set()
            failures = 0 if self._error is None else failures + 1
            # Said once: the list is asked for every few seconds.
            said = "ready" if self._error is None else f"{self._error.code}: {self._error.message}"
            if said != told:
                logger.log(logging.INFO if self._error is None else logging.WARNING, "The archive: %s", said)
                told = said
            pause = max(self._settings.refresh_seconds, _SHARE * self._list_seconds)
            if failures:
                grown = self._settings.refresh_seconds * 2.0 ** min(failures, 10)
                pause = min(grown, _LONGEST_PAUSE) * random.uniform(0.75, 1.25)
            if not self._unjudged or failures:
                self._news.wait(pause)

    def _refreshed(self) -> CovidBertError | None:
        """Look at the list, and return what went wrong."""
        try:
            self.refresh()
            if time.monotonic() >= self._forget_at:
                self._forget_at = time.monotonic() + _FORGET_SECONDS
                self._kept.forget(self._settings.cache_hours)
        except CovidBertError as error:
            return error
        except Exception as error:
            logger.error("The list of the archive cannot be followed: %s", type(error).__name__)
            return InternalError("The list of the archive cannot be followed.", "Look in the server's log.")
        return None
