"""The HTTP below DICOMweb: limits on size and time, and one meaning for each way to fail.

Messages and logs never hold an address with its query, an identifier, a header or a credential: what requests, urllib3
and dicomweb-client say in theirs does, so that it is neither repeated nor logged.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.exceptions import ReadTimeoutError

from covid_bert.errors import NotFoundError
from covid_bert.pacs.errors import PacsAnswerError, PacsDownError, PacsError, PacsRefusedError, PacsSlowError

# Their lines hold identifiers of studies and whole addresses.
for _name in ("dicomweb_client", "retrying", "urllib3", "requests", "python_multipart"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

_PIECE = 2**18
_SLOW_STATUS = frozenset({408, 425, 429, 504})
_LONGEST_WAIT = 600
_RETRY_SECONDS = 10


@dataclass(frozen=True)
class Limits:
    """What is waited for, and how much is taken.

    Parameters
    ----------
    connect_seconds, read_seconds
        Until a connection stands, and between two pieces of an answer.
    answer_seconds, series_seconds
        For a whole answer, and for all images of a series.
    slow_seconds
        Answers that take longer make the archive a slow one.
    list_bytes, instance_bytes
        Largest answer with facts in JSON, and largest image.
    attempts
        How often a request is sent at most by `covid_bert.pacs.dicomweb.Pacs.trying`.
    first_pause, longest_pause
        Seconds after the first attempt, which double with each; a random part spreads out many clients.
    """

    connect_seconds: float = 5.0
    read_seconds: float = 15.0
    answer_seconds: float = 180.0
    series_seconds: float = 1800.0
    slow_seconds: float = 5.0
    list_bytes: int = 64 * 2**20
    instance_bytes: int = 2**31
    attempts: int = 4
    first_pause: float = 0.5
    longest_pause: float = 8.0


class _TooLargeError(Exception):
    """An answer has more bytes than are taken."""


class _TooLongError(Exception):
    """An answer takes longer than is waited."""


class _Bounded:
    """The body of an answer, read piece by piece within limits; else what urllib3 has."""

    def __init__(self, raw: Any, most: int, end: float) -> None:
        self._raw, self._most, self._end = raw, most, end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def stream(self, amount: int = _PIECE, decode_content: bool | None = None) -> Iterator[bytes]:
        """Yield what has arrived, at most `amount` bytes at a time."""
        left = self._most
        try:
            # One piece is what one call of the system gives: waiting for more would let a trickle last for ever.
            while piece := self._raw.read1(amount, decode_content=decode_content):
                left -= len(piece)
                if left < 0:
                    raise _TooLargeError
                if time.monotonic() > self._end:
                    raise _TooLongError
                yield piece
        except BaseException:
            # What is left of the answer is not read by anybody.
            self._raw.close()
            raise


class _Adapter(HTTPAdapter):
    def __init__(self, limits: Limits, connections: int) -> None:
        self._limits = limits
        super().__init__(pool_connections=1, pool_maxsize=connections, max_retries=0)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send with our timeouts, and bound the answer."""
        limits = self._limits
        kwargs["timeout"] = limits.connect_seconds, limits.read_seconds
        end = time.monotonic() + limits.answer_seconds
        response = super().send(request, *args, **kwargs)
        images = str(request.headers.get("Accept", "")).startswith("multipart/")
        response.raw = _Bounded(response.raw, limits.instance_bytes if images else limits.list_bytes, end)
        return response


class _Session(requests.Session):
    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Ask this one server only: a redirection could lead credentials anywhere."""
        response = super().request(*args, **{**kwargs, "allow_redirects": False})
        if 300 <= response.status_code < 400:
            response.close()
            raise PacsRefusedError(
                "The archive sends requests on to another address.", "Give that address, if it is the archive's."
            )
        return response


def open_session(
    limits: Limits, auth: AuthBase | None, certificate: str | None, *, connections: int
) -> requests.Session:
    """Return a session that asks nobody but the archive, and takes no settings of the environment.

    Parameters
    ----------
    limits
        Of each answer.
    auth
        Logs in.
    certificate
        PEM file; None for the certificates that are known publicly.
    connections
        Most at a time that are kept open.
    """
    session = _Session()
    # Neither proxies nor passwords (.netrc) of the environment.
    session.trust_env = False
    session.auth = auth
    if certificate is not None:
        session.verify = certificate
    # No answer may unpack to more than it is.
    session.headers["Accept-Encoding"] = "identity"
    adapter = _Adapter(limits, connections)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def explained(error: Exception) -> PacsError | NotFoundError:
    """Return the typed error for what a request raised; nothing of its text."""
    if isinstance(error, PacsError | NotFoundError):
        return error
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return _of_status(error.response)
    if isinstance(error, requests.exceptions.SSLError):
        return PacsRefusedError(
            "The archive's certificate is not trusted, or it does not encrypt at that address.",
            "Name the certificate that signed it with pacs_certificate, or correct the address.",
        )
    within = error.args[0] if error.args else None
    late = isinstance(error, requests.exceptions.ReadTimeout | _TooLongError) or isinstance(within, ReadTimeoutError)
    if late:
        return PacsSlowError(
            "The archive does not answer in time.", "Look at its load; it is asked again.", retry_after=_RETRY_SECONDS
        )
    if isinstance(error, _TooLargeError):
        return PacsAnswerError("An answer of the archive is larger than any CT's.", "Look at what lies there.")
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return PacsDownError(
            "The archive broke off in the middle of an answer.", "It is asked again.", retry_after=_RETRY_SECONDS
        )
    if isinstance(error, requests.exceptions.ConnectionError | requests.exceptions.Timeout):
        return PacsDownError(
            "The archive cannot be reached.",
            "See whether it runs, and whether its address is right; it is asked again.",
            retry_after=_RETRY_SECONDS,
        )
    return PacsAnswerError("The archive's answer is not DICOMweb.", "See whether the address is that of DICOMweb.")


def _of_status(response: requests.Response) -> PacsError | NotFoundError:
    status = response.status_code
    if status in (401, 403):
        return PacsRefusedError(
            f"The archive refuses these credentials (status {status}).",
            "Correct user and password or token (pacs_credentials), or have the rights given.",
        )
    if status in (404, 410):
        return NotFoundError("The archive has no such thing any more.", "Ask for the list of studies again.")
    if status in _SLOW_STATUS:
        return PacsSlowError(
            f"The archive has too much to do (status {status}).", "It is asked again.", retry_after=_wait(response)
        )
    if status >= 500:
        return PacsDownError(
            f"The archive fails (status {status}).",
            "See its log; it is asked again.",
            retry_after=_wait(response),
        )
    return PacsAnswerError(f"The archive does not take the request (status {status}).", "Look into its log.")


def _wait(response: requests.Response) -> int:
    stated = response.headers.get("Retry-After", "")
    return min(max(int(stated), 1), _LONGEST_WAIT) if stated.isdigit() else _RETRY_SECONDS
