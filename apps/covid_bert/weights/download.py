"""Download of one file: resumable, checked, and plain about what is wrong.

Only the standard library is used; it honours ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY``, and ``SSL_CERT_FILE``.
"""

from __future__ import annotations

import re
import shutil
import time
from email.message import Message
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request

from filelock import FileLock, Timeout

from covid_bert import __version__
from covid_bert.errors import BusyError, CancelledError, OfflineError, WeightsError
from covid_bert.files import sync
from covid_bert.progress import Progress
from covid_bert.weights.files import explained, sha256_of
from covid_bert.weights.partial import PartialFile
from covid_bert.weights.transport import (
    TransferInterruptedError,
    check_url,
    content_range,
    explain_failure,
    integer,
    opener,
    validator,
)

MAXIMUM_BYTES = 4 << 30
_BLOCK = 1 << 18
_RETRIED = {408, 425, 429, 500, 502, 503, 504}
_LONGEST_PAUSE_S = 30.0
_STAGE = "download"


def download(
    url: str,
    destination: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    progress: Progress | None = None,
    timeout_s: float = 30.0,
    attempts: int = 4,
    pause_s: float = 1.0,
) -> Path:
    """Download `url` to `destination`, going on from what an earlier attempt left there.

    Parameters
    ----------
    url
        https, or http on this computer.
    destination
        Appears only when the file is whole and its checksum agrees. Its folder must exist.
    sha256
        Expected SHA-256, or its first digits; None if nothing is known.
    size
        Expected size in bytes; None if it is not known.
    progress
        Gets the stages ``download`` and ``checksum``.
    timeout_s
        Seconds without an answer, or without another byte, after which an attempt ends.
    attempts
        Attempts in a row that may bring nothing new.
    pause_s
        Seconds before the second attempt; doubled each time.

    Returns
    -------
    Path
        `destination`.

    Raises
    ------
    OfflineError
        If the server cannot be reached or keeps breaking off; what has arrived is kept for the next call.
    WeightsError
        If the server has no such file, the file is another one than expected, or the disk is full.
    BusyError
        If another process is downloading the same file.
    ParameterError
        If `url` is not allowed.
    CancelledError
        If the user cancelled; what has arrived is kept.
    """
    check_url(url)
    progress = progress or Progress()
    partial = PartialFile(destination)
    lock = FileLock(destination.with_name(f"{destination.name}.lock"))
    try:
        with lock.acquire(blocking=False), explained("download the weights"):
            with progress.stage(_STAGE):
                _transfer_all(url, partial, size, progress, timeout_s, attempts, pause_s)
            _check(partial, sha256, size, progress)
            sync(partial.path)
            partial.finish()
            sync(destination.parent)
    except Timeout:
        raise BusyError(f"{destination.name} is being downloaded already.", "Wait for the other download.") from None
    except CancelledError:
        raise CancelledError(
            "The download was cancelled.", "What has arrived is kept; start it again to go on."
        ) from None
    return destination


def _transfer_all(
    url: str,
    partial: PartialFile,
    size: int | None,
    progress: Progress,
    timeout_s: float,
    attempts: int,
    pause_s: float,
) -> None:
    failures = 0
    while True:
        before = partial.size
        try:
            _transfer(url, partial, size, progress, timeout_s)
            return
        except TransferInterruptedError as error:
            failures = 1 if partial.size > before else failures + 1
            if failures >= attempts:
                raise OfflineError(
                    f"{partial.destination.name} could not be downloaded from {url}: {error}.",
                    "Behind a proxy, set HTTPS_PROXY. Without a connection, download the file elsewhere and bring "
                    "it in with `covid-bert weights import FILE`.",
                    url=url,
                ) from error
            pause = max(pause_s * 2 ** (failures - 1), error.retry_after_s)
            _wait(min(pause, _LONGEST_PAUSE_S), progress, partial.size / size if size else 0.0)


def _transfer(url: str, partial: PartialFile, size: int | None, progress: Progress, timeout_s: float) -> None:
    """One attempt: ask for the file, or for the rest of it, and write what comes.

    Raises
    ------
    TransferInterruptedError
        If it broke off.
    """
    mark = partial.validator(url)
    offset = partial.size if mark is not None else 0
    headers = {"User-Agent": f"covid-bert/{__version__}", "Accept-Encoding": "identity"}
    if mark is not None:
        headers |= {"Range": f"bytes={offset}-", "If-Range": mark}
    try:
        response = opener().open(Request(url, headers=headers), timeout=timeout_s)
    except HTTPError as error:
        with error:
            _refused(error, offset, partial)
        return
    except (OSError, HTTPException) as error:
        raise explain_failure(error) from error
    with response:
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            start, total = content_range(response.headers)
            if start != offset:
                partial.discard()
                raise TransferInterruptedError("the server sent another part than the one asked for")
        else:
            # The server sends the whole file: it does not know ranges, or the file has changed since.
            offset = 0
            total = integer(response.headers.get("Content-Length"))
            _check_offer(response.headers, partial.destination.name)
            partial.begin(url, validator(response.headers))
        _check_size(total, offset, size, partial.destination)
        received = _copy(response, partial.path, offset, total, progress)
    if total is not None and received < total:
        raise TransferInterruptedError(f"the connection ended after {received} of {total} bytes")


def _copy(response: Any, path: Path, offset: int, total: int | None, progress: Progress) -> int:
    limit = MAXIMUM_BYTES if total is None else total
    received = offset
    with path.open("ab") as file:
        while True:
            progress.update(_STAGE, received / total if total else 0.0)
            try:
                block = response.read1(_BLOCK)
            except (OSError, HTTPException) as error:
                raise explain_failure(error) from error
            if not block:
                return received
            received += len(block)
            if received > limit:
                raise WeightsError(
                    "The server sends more than it announced.", "The download was stopped; try another time."
                )
            file.write(block)


def _check(partial: PartialFile, sha256: str | None, size: int | None, progress: Progress) -> None:
    """Compare size and checksum; a file that differs is removed.

    Raises
    ------
    WeightsError
        If they differ.
    """
    name = partial.destination.name
    with progress.stage("checksum"):
        actual = sha256_of(partial.path, progress)
    if (size is None or partial.size == size) and (sha256 is None or actual.startswith(sha256)):
        return
    received = partial.size
    partial.discard()
    raise WeightsError(
        f"{name} arrived damaged or is another file: its SHA-256 or size is not the expected one. It was removed.",
        "Try again; if it happens again, the network may be changing downloads, or the file on the server is not the "
        "one that was published.",
        expected=sha256,
        actual=actual,
        expected_bytes=size,
        bytes=received,
    )


def _refused(error: HTTPError, offset: int, partial: PartialFile) -> None:
    """Deal with an HTTP error; return if the file is already whole."""
    if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
        match = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
        if match and int(match.group(1)) == offset:
            return
        partial.discard()
        raise TransferInterruptedError("the file on the server has changed")
    if error.code in _RETRIED:
        raise TransferInterruptedError(
            f"the server answered {error.code} {error.reason}",
            float(integer(error.headers.get("Retry-After")) or 0),
        )
    raise WeightsError(
        f"The server does not give out {partial.destination.name}: it answered {error.code} {error.reason}.",
        "The file may have moved: look at its source page, download it and use `covid-bert weights import FILE`.",
        status=error.code,
    )


def _check_offer(headers: Message, name: str) -> None:
    if headers.get_content_type() == "text/html":
        raise WeightsError(
            f"The server answered with a web page instead of {name}.",
            "A network's login page does this: log in with a browser, then try again.",
        )


def _check_size(total: int | None, offset: int, size: int | None, destination: Path) -> None:
    if total is not None and (total > MAXIMUM_BYTES or (size is not None and total != size)):
        raise WeightsError(
            f"The server offers {total} bytes for {destination.name}; that is not the expected file.",
            "Nothing was downloaded. The file on the server is not the one that was published.",
            expected_bytes=size,
            bytes=total,
        )
    missing = (total or 0) - offset
    free = shutil.disk_usage(destination.parent).free
    if missing > free:
        raise WeightsError(
            f"The download needs {missing >> 20} MiB and the disk has {free >> 20} MiB left.",
            "Free some space, or set COVID_BERT_HOME to a folder on a larger disk.",
        )


def _wait(seconds: float, progress: Progress, fraction: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        progress.update(_STAGE, fraction)
        time.sleep(min(left, 0.1))
