"""HTTP for downloads: which addresses are allowed, what headers say, what errors mean."""

from __future__ import annotations

import ipaddress
import re
import ssl
from email.message import Message
from typing import IO
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from covid_bert.errors import ParameterError, WeightsError


class TransferInterruptedError(Exception):
    """The transfer broke off; another attempt may go on from there."""

    def __init__(self, reason: str, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class _GuardedRedirect(HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        weaker = req.full_url.startswith("https:") and not newurl.startswith("https:")
        if weaker or not _is_allowed(newurl):
            raise WeightsError("The server redirects to an address that is not safe.", "The download was refused.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def check_url(url: str) -> None:
    """Allow https, and http to this computer itself.

    Raises
    ------
    ParameterError
        For any other address.
    """
    if not _is_allowed(url):
        raise ParameterError(
            "Weights are downloaded from https addresses only.", "Give an address that begins with https://."
        )


def _is_allowed(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host)))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def content_range(headers: Message) -> tuple[int | None, int | None]:
    """First byte and total size that a 206 answer states; None for what it does not."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
    return (int(match.group(1)), integer(match.group(2))) if match else (None, None)


def validator(headers: Message) -> str | None:
    """What If-Range may carry: a strong ETag, else the time of the last change."""
    tag = headers.get("ETag")
    if tag is not None and not tag.startswith("W/"):
        return str(tag)
    return headers.get("Last-Modified")


def integer(text: str | None) -> int | None:
    """A header's non-negative number; None if it is none."""
    return int(text) if text is not None and text.isdigit() else None


def explain_failure(error: Exception) -> WeightsError | TransferInterruptedError:
    """The exception to raise for a failure of the connection: final for an untrusted certificate, else temporary."""
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return WeightsError(
            "The server's certificate is not trusted.",
            "Where a company's proxy opens encrypted connections, name its certificate file in SSL_CERT_FILE.",
        )
    if isinstance(reason, OSError) and reason.strerror:
        return TransferInterruptedError(reason.strerror.lower())
    return TransferInterruptedError(str(reason) or type(reason).__name__)


def opener() -> OpenerDirector:
    """An opener that follows the proxy variables as they are now and refuses unsafe redirects."""
    return build_opener(_GuardedRedirect)
