"""An archive by DICOMweb: what it has (QIDO), its images (WADO), and results for it (STOW)."""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pydicom
import requests
from dicomweb_client.api import DICOMwebClient

from covid_bert.errors import NotFoundError, OutputError
from covid_bert.pacs.connection import Limits, explained, open_session
from covid_bert.pacs.credentials import read_credentials
from covid_bert.pacs.errors import (
    PacsAnswerError,
    PacsDownError,
    PacsError,
    PacsRefusedError,
    PacsRejectedError,
    PacsSlowError,
)
from covid_bert.pacs.listed import ListedSeries, data_sets, headers_in, is_uid, listed_series, text_of
from covid_bert.pacs.multipart import write_only_part
from covid_bert.pacs.settings import PacsSettings
from covid_bert.pacs.state import Condition, PacsState
from covid_bert.progress import Progress
from covid_bert.volumes.dicom_headers import SliceHeader

logger = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")
_PAGE = 500
# More chest CT series than readers of one server look at; a list of so many is a setting gone wrong.
MOST_SERIES = 20_000
_MOST_INSTANCES = 20_000
_CONNECTIONS = 8
_BLINK_SECONDS = 0.1
_FACTS = ["StudyInstanceUID", "SeriesInstanceUID", "Modality", "NumberOfSeriesRelatedInstances", "SeriesDescription",
          "StudyDescription", "BodyPartExamined", "ProtocolName"]  # fmt: skip
# As the archive stores it: nothing is decoded and encoded again on the way.
_AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'


class Pacs:
    """Asks one archive; may be used by several threads.

    Parameters
    ----------
    settings
        Which archive.
    limits
        Of each request.
    environment
        For credentials; see `read_credentials`.

    Raises
    ------
    ParameterError
        If the credentials cannot be read.
    """

    def __init__(
        self, settings: PacsSettings, limits: Limits | None = None, *, environment: Mapping[str, str] = os.environ
    ) -> None:
        self.limits = limits or Limits()
        certificate = None if settings.certificate is None else str(settings.certificate)
        auth = read_credentials(settings, environment)
        self._session = open_session(self.limits, auth, certificate, connections=_CONNECTIONS)
        self._url = settings.url
        self._client = DICOMwebClient(settings.url, session=self._session)
        self._client.set_http_retry_params(retry=False)
        self._state = PacsState(Condition.UNKNOWN, time.time())

    @property
    def state(self) -> PacsState:
        """How the archive is, by the last request."""
        return self._state

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def ct_series(self) -> tuple[list[ListedSeries], bool]:
        """Return the CT series that the archive lists, and whether these are all.

        Raises
        ------
        PacsError
            If it does not answer as it should.
        """
        found: dict[str, ListedSeries] = {}
        offset = 0
        while len(found) < MOST_SERIES:
            page = self._page_of_series(offset)
            known = len(found)
            for item in page:
                series = listed_series(item)
                if series is not None:
                    found.setdefault(series.series, series)
            # Archives that do not know `offset` send the same page again.
            if not page or len(found) == known:
                return list(found.values()), True
            offset += len(page)
        logger.warning("The archive lists more than %d CT series; the others are left out", MOST_SERIES)
        return list(found.values()), False

    def count(self, study: str, series: str) -> int:
        """Return how many images a series has now.

        Raises
        ------
        PacsError, NotFoundError
            If the archive does not answer as it should, or has no such series.
        """
        return len(self.instances(study, series))

    def instances(self, study: str, series: str) -> list[str]:
        """Return the SOPInstanceUIDs of a series, sorted; errors as in `count`."""
        found: set[str] = set()
        while page := set(self._instances(study, series, _PAGE, len(found))) - found:
            found |= page
            if len(found) > _MOST_INSTANCES:
                raise PacsAnswerError(
                    "The archive lists more images of a series than any CT has.", "Look into its log."
                )
        if not found:
            raise _gone()
        return sorted(found)

    def headers(self, study: str, series: str, place: int) -> list[SliceHeader]:
        """Return the header of one image of a series: one for each frame of an enhanced multi-frame image.

        Parameters
        ----------
        study, series
            Their UIDs.
        place
            In the archive's own order, from 0 on; the first image where the archive does not know of places.

        Raises
        ------
        PacsError, NotFoundError
            As for `count`.
        UnreadableFileError
            If the header is damaged.
        """
        page = self._instances(study, series, 1, place) or self._instances(study, series, 1, 0)
        if not page:
            raise _gone()
        found = self._ask(lambda: data_sets([self._client.retrieve_instance_metadata(study, series, page[0])]))
        return headers_in(found[0])

    def fetch(self, study: str, series: str, instance: str, path: Path) -> None:
        """Write one image to a new file, as the archive stores it; no part of it lies in memory as a whole.

        Raises
        ------
        PacsError, NotFoundError
            As for `count`; the file is then removed.
        OutputError
            If it cannot be written.
        """
        url = f"{self._url}/studies/{study}/series/{series}/instances/{instance}"
        try:
            with path.open("xb") as file:
                self._ask(lambda: self._receive(url, file), prompt=False)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise OutputError(
                f"An image of the archive cannot be kept: {error.strerror}.", "Make room on the server's disk."
            ) from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def store(self, dataset: pydicom.Dataset) -> None:
        """Store one object in the archive. Storing it twice is no fault.

        Raises
        ------
        PacsError
            If the archive does not answer as it should: it may be tried again.
        PacsRejectedError
            If the archive does not take this object.
        """
        answer = self._ask(lambda: self._stored(dataset))
        if answer.get("FailedSOPSequence"):
            raise _rejected()

    def trying(self, ask: Callable[[], _Answer], progress: Progress | None = None) -> _Answer:
        """Call until it ends well, with pauses that grow, where trying again makes sense.

        Parameters
        ----------
        ask
            One of the requests above.
        progress
            May cancel, also in a pause.

        Raises
        ------
        CovidBertError
            What the last call raised; `CancelledError`.
        """
        for attempt in range(1, self.limits.attempts + 1):
            try:
                return ask()
            except (PacsDownError, PacsSlowError):
                if attempt == self.limits.attempts:
                    raise
            pause = min(self.limits.first_pause * 2.0 ** (attempt - 1), self.limits.longest_pause)
            _wait(pause * random.uniform(0.5, 1.5), progress)
        raise AssertionError("at least one attempt")

    def _page_of_series(self, offset: int) -> list[dict[str, Any]]:
        search, only = self._client.search_for_series, {"Modality": "CT"}
        try:
            return self._ask(lambda: data_sets(search(fields=_FACTS, search_filters=only, limit=_PAGE, offset=offset)))
        except NotFoundError:
            raise self._noted(
                PacsRefusedError("There is no DICOMweb at the address of the archive.", "Correct the address."), 0.0
            ) from None

    def _instances(self, study: str, series: str, most: int, start: int) -> list[str]:
        page = self._ask(lambda: data_sets(self._client.search_for_instances(study, series, limit=most, offset=start)))
        return [uid for uid in (text_of(item, "00080018") for item in page) if is_uid(uid)]

    def _receive(self, url: str, file: Any) -> None:
        with self._session.get(url, headers={"Accept": _AS_STORED}, stream=True) as response:
            response.raise_for_status()
            write_only_part(response.headers.get("Content-Type", ""), response.iter_content(2**18), file)

    def _stored(self, dataset: pydicom.Dataset) -> pydicom.Dataset:
        try:
            return self._client.store_instances([dataset])
        except requests.HTTPError as error:
            if error.response is not None and error.response.status_code in (400, 409, 413, 415, 422):
                raise _rejected() from None
            raise

    def _ask(self, request: Callable[[], _Answer], *, prompt: bool = True) -> _Answer:
        """Send a request; note how the archive is, and raise typed errors only, or the disk's."""
        start = time.monotonic()
        try:
            answer = request()
        except PacsRejectedError:
            raise
        except Exception as error:
            # What requests raises are errors of the operating system, too.
            if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
                raise
            raise self._noted(explained(error), time.monotonic() - start) from None
        seconds = time.monotonic() - start
        self._note(Condition.SLOW if prompt and seconds > self.limits.slow_seconds else Condition.READY, seconds)
        return answer

    def _noted(self, error: PacsError | NotFoundError, seconds: float) -> PacsError | NotFoundError:
        if isinstance(error, NotFoundError):
            self._note(Condition.READY, seconds)
        elif isinstance(error, PacsSlowError):
            self._note(Condition.SLOW, seconds, error)
        else:
            down = isinstance(error, PacsDownError)
            self._note(Condition.DOWN if down else Condition.REFUSED, seconds, error)
        return error

    def _note(self, condition: Condition, seconds: float, error: PacsError | None = None) -> None:
        since = self._state.since if self._state.condition is condition else time.time()
        self._state = PacsState(condition, since, seconds, error)


def _wait(seconds: float, progress: Progress | None) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if progress is not None:
            progress.step()
        time.sleep(min(left, _BLINK_SECONDS))


def _gone() -> NotFoundError:
    return NotFoundError("The archive has no such series any more.", "Ask for the list of studies again.")


def _rejected() -> PacsRejectedError:
    return PacsRejectedError(
        "The archive does not take this object.", "Its log says why; it may refuse other sources or changes."
    )
