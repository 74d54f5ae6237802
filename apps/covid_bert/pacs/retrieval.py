"""Fetching the images of a series: image by image, straight to the disk, and all of them or none."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from filelock import Timeout

from covid_bert.errors import CovidBertError, OutputError, UnreadableFileError
from covid_bert.pacs.dicomweb import Pacs
from covid_bert.pacs.errors import PacsAnswerError, PacsArrivingError, PacsSlowError
from covid_bert.pacs.kept import IMAGES, Kept, SeriesRecord, free_bytes, no_room, read_record
from covid_bert.pacs.settings import PacsSettings, read_settings
from covid_bert.progress import Progress
from covid_bert.volumes.dicom_files import read_header_of

_AT_A_TIME = 4
_BLINK_SECONDS = 0.2
# Of an image whose size the archive's header does not tell.
_USUAL_BYTES = 2**20
_RETRY_SECONDS = 15
_WAITING, _FETCHING = "waiting for images", "fetching images"


def bring(image: Path, progress: Progress | None = None, open_pacs: Callable[[PacsSettings], Pacs] = Pacs) -> None:
    """See to it that the files of a study are there: those of an archive's series are fetched if they are not.

    Parameters
    ----------
    image
        File or folder of the study. Nothing is done for one that is not of an archive.
    progress
        Told how far it is; may cancel between two images.
    open_pacs
        Opens the archive.

    Raises
    ------
    PacsError
        If the archive cannot be asked, or does not answer as it should.
    PacsArrivingError
        If the series changes while it is fetched.
    NotFoundError
        If the archive has the series no more.
    OutputError
        If there is no room for it.
    CancelledError
        If `progress` is cancelled.
    """
    record = read_record(image)
    settings = None if record is None else read_settings(image.parent)
    if record is None or settings is None or _is_there(image):
        return
    told = progress or Progress()
    try:
        with _turn(image, told):
            if not _is_there(image):
                with told.stage(_FETCHING), closing(open_pacs(settings)) as pacs:
                    _fetch(image, record, settings, pacs, told)
    except OSError as error:
        raise OutputError(
            f"Images of the archive cannot be kept: {error.strerror}.",
            "Make room on the server's disk, or allow its user to write there.",
        ) from error


def _is_there(image: Path) -> bool:
    """Whether the images are there; if so, they count as used now."""
    try:
        os.utime(image / IMAGES)
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _turn(image: Path, progress: Progress) -> Iterator[None]:
    """Wait until no other process fetches the series, and keep the others waiting while the block runs."""
    lock = Kept(image.parent).lock(image)
    while not lock.is_locked:
        progress.update(_WAITING, 0.0)
        with suppress(Timeout):
            lock.acquire(timeout=_BLINK_SECONDS)
    try:
        yield
    finally:
        lock.release()


def _fetch(image: Path, record: SeriesRecord, settings: PacsSettings, pacs: Pacs, progress: Progress) -> None:
    instances = pacs.trying(lambda: pacs.instances(record.study, record.series), progress)
    if len(instances) != record.instances:
        raise _arriving()
    kept = Kept(image.parent)
    kept.make_room(record.bytes or len(instances) * _USUAL_BYTES, settings.cache_megabytes)
    with kept.incoming() as folder:
        images = folder / IMAGES
        images.mkdir(mode=0o700)
        _fetch_all(record, instances, images, pacs, progress)
        # Images that came meanwhile would be missing in the middle of the chest.
        if pacs.trying(lambda: pacs.instances(record.study, record.series), progress) != instances:
            raise _arriving()
        if read_record(image) != record:
            raise _arriving()
        images.replace(image / IMAGES)


def _fetch_all(record: SeriesRecord, instances: list[str], folder: Path, pacs: Pacs, progress: Progress) -> None:
    """Fetch several images at a time; the first failure, or cancelling, ends all."""
    stop = Progress()
    end = time.monotonic() + pacs.limits.series_seconds

    def fetch(instance: str) -> None:
        # The name is the same whenever it is fetched, and tells nothing.
        path = folder / f"{hashlib.sha256(instance.encode()).hexdigest()[:32]}.dcm"
        pacs.trying(lambda: pacs.fetch(record.study, record.series, instance, path), stop)
        _check(path, record, instance)

    with ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="pacs") as pool:
        waiting: set[Future[None]] = {pool.submit(fetch, instance) for instance in instances}
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=_BLINK_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                progress.update(_FETCHING, 1.0 - len(waiting) / len(instances))
                if free_bytes(folder) <= 0:
                    raise no_room()
                if waiting and time.monotonic() > end:
                    raise PacsSlowError("The archive takes too long for this series.", "Try again later.")
        except BaseException:
            stop.cancel()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _check(path: Path, record: SeriesRecord, instance: str) -> None:
    """Refuse another image than the one that was asked for: it could be another patient's."""
    try:
        header = read_header_of(path, ["SeriesInstanceUID", "SOPInstanceUID"])
        found = str(header.get("SeriesInstanceUID", "")), str(header.get("SOPInstanceUID", ""))
    except UnreadableFileError as error:
        raise _wrong() from error
    if found != (record.series, instance):
        raise _wrong()


def _wrong() -> CovidBertError:
    return PacsAnswerError("The archive does not send the image that it was asked for.", "Look into its log.")


def _arriving() -> PacsArrivingError:
    return PacsArrivingError(
        "Images of this series are still arriving at the archive.", "Try again soon.", retry_after=_RETRY_SECONDS
    )
