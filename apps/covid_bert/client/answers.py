"""Reading what a server answers: JSON of limited size, and typed errors for everything that is not a success."""

from __future__ import annotations

import json
import re
import time
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Any, NoReturn
from urllib.parse import urlsplit

from . import errors
from .address import Address

JSON_LIMIT_BYTES = 16 * 2**20
_ERROR_LIMIT_BYTES = 64 * 2**10
_PIECE_BYTES = 64 * 2**10
_LONGEST_TEXT = 500
# For the body of an answer in JSON, which is small.
_ANSWER_SECONDS = 60.0
_SUCCESSES = {200, 201, 202, 204}
_CODE = re.compile(r"[a-z0-9-]{1,64}")

# For each status: the error, and its sentence and hint where the server itself gives none.
_ERRORS: dict[int, tuple[type[errors.ClientError], str, str]] = {
    403: (
        errors.NotAllowedError,
        "The server does not allow this.",
        "Ask its administrator for a token with the role.",
    ),
    404: (errors.NotFoundError, "The server does not know that.", "Ask it for the list of what there is."),
    409: (errors.ConflictError, "That cannot be done in the present state.", "Ask for the state and try later."),
    410: (errors.GoneError, "That has expired on the server.", "Upload or compute it again."),
    413: (errors.TooLargeError, "The server does not take so much.", "Send one study, without other files."),
    429: (errors.BusyError, "The server has no place for another request.", "Try again later."),
    502: (errors.ConnectionLostError, "A gateway gets no answer from the server.", "Ask whether the server runs."),
    503: (errors.BusyError, "The server is not ready.", "Try again later."),
    504: (errors.ConnectionLostError, "A gateway gets no answer from the server.", "Ask whether the server runs."),
}


def check_status(response: HTTPResponse, address: Address, token: str | None) -> None:
    """Pass an answer that is a success of a covid-bert server.

    Parameters
    ----------
    response
        The answer; the body of a refusal is read, that of a success is left.
    address
        Where the answer comes from, for the messages.
    token
        The token of the request, which no message may repeat.

    Raises
    ------
    ClientError
        The error that belongs to the status; `WrongServerError` for redirects and web pages.
    """
    status = response.status
    is_web_page = response.getheader("Content-Type", "").lower().startswith("text/html")
    if 300 <= status < 400:
        other = plain_text(_host_of(response.getheader("Location", "")), token)
        raise errors.WrongServerError(
            f"{address} sends requests on to {other}; that is not followed.",
            "Give the server's own address.",
            status=status,
        )
    if status in _SUCCESSES and not is_web_page:
        return
    if status < 300:
        raise wrong_server(address)
    _refuse(response, address, token)


def _refuse(response: HTTPResponse, address: Address, token: str | None) -> NoReturn:
    status = response.status
    content = _error_content(response)
    detail = content.get("detail") if isinstance(content, dict) else None
    if status == 404 and detail is None:
        raise wrong_server(address)
    given = detail if isinstance(detail, dict) else {}
    code = plain_code(given.get("code"), token)
    retry_after = _retry_after(response.getheader("Retry-After", ""))
    kind, message, hint = _error_for(status, token)
    if status == 401:
        # The server's own hint is for who writes requests by hand.
        given = {**given, "hint": ""}
    if status == 503 and retry_after is None and code not in (None, errors.BusyError.default_code):
        # The server names a fault that lasts until somebody mends it, such as missing weights.
        kind = errors.ServerError
    error = kind(
        plain_text(given.get("message"), token) or message,
        plain_text(given.get("hint"), token) or hint,
        code=code,
        status=status,
        request_id=plain_text(given.get("request_id"), token) or None,
    )
    if isinstance(error, errors.BusyError):
        error.retry_after = retry_after
    raise error


def _error_for(status: int, token: str | None) -> tuple[type[errors.ClientError], str, str]:
    if status == 401:
        if token is None:
            return errors.TokenMissingError, "The server wants a token.", "Ask its administrator for one."
        return errors.TokenRefusedError, "The server does not know this token.", "Ask its administrator for a new one."
    if status in _ERRORS:
        return _ERRORS[status]
    if status < 500:
        return errors.InvalidRequestError, f"The server refused the request with status {status}.", "Check its values."
    return errors.ServerError, f"The server failed with status {status}.", "Tell its administrator."


def wrong_server(address: Address) -> errors.WrongServerError:
    """Make the error that says that something else answers at an address."""
    return errors.WrongServerError(
        f"Something answers at {address}, but it is not a covid-bert server.",
        "Check host, port and path. A login page of the network looks like this too.",
    )


def read_json(response: HTTPResponse) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    InvalidAnswerError
        If it is larger than `JSON_LIMIT_BYTES`, not JSON, or not an object.
    """
    try:
        content = json.loads(_read(response, JSON_LIMIT_BYTES), parse_constant=_no_number)
    except (ValueError, RecursionError):
        # Without the cause: it holds the answer, which may repeat the token.
        raise invalid_answer("is not JSON") from None
    if not isinstance(content, dict):
        raise invalid_answer("is not a JSON object")
    return content


def invalid_answer(what: str) -> errors.InvalidAnswerError:
    """Make the error for an answer that is not as it must be; ``what`` completes the sentence."""
    return errors.InvalidAnswerError(
        f"The server's answer {what}.", "Tell its administrator; a gateway on the way may have changed it."
    )


def plain_code(value: Any, token: str | None) -> str | None:
    """Return a server's code of an error, or None where it is not one of small letters, digits and hyphens."""
    code = plain_text(value, token)
    return code if _CODE.fullmatch(code) else None


def plain_text(value: Any, token: str | None) -> str:
    """Make a server's text fit to be shown: printable, short, and without the token.

    Returns
    -------
    str
        The text in one line, ``""`` for anything that is not text.
    """
    if not isinstance(value, str):
        return ""
    printable = "".join(character for character in " ".join(value.split()) if character.isprintable())
    # After the characters that are dropped, since these could split the token, and before the text is cut.
    if token:
        printable = printable.replace(token, "***")
    return printable[:_LONGEST_TEXT]


def _read(response: HTTPResponse, limit: int) -> bytes:
    pieces = []
    size = 0
    end = time.monotonic() + _ANSWER_SECONDS
    # What has arrived, however little: a server that sends byte after byte must not hold the caller.
    while piece := response.read1(min(_PIECE_BYTES, limit + 1 - size)):
        if time.monotonic() >= end:
            raise errors.TimedOutError("The server's answer does not come to its end.", "Try again later.")
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            raise invalid_answer(f"is larger than {limit // 2**10} KiB")
    if response.length:
        raise IncompleteRead(b"", response.length)
    return b"".join(pieces)


def _error_content(response: HTTPResponse) -> Any:
    """The body of a refusal, or None: the status says enough where it cannot be read."""
    try:
        return json.loads(_read(response, _ERROR_LIMIT_BYTES))
    except (errors.InvalidAnswerError, ValueError, RecursionError, OSError, HTTPException):
        return None


def _retry_after(header: str) -> float | None:
    """The seconds of a ``Retry-After`` header, which holds seconds or a date."""
    if re.fullmatch(r"\d{1,9}", header.strip(), re.ASCII):
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _host_of(location: str) -> str:
    """The host that a redirect names, where it can be shown."""
    try:
        host = urlsplit(location).hostname or ""
    except ValueError:
        host = ""
    return host if re.fullmatch(r"[A-Za-z0-9.-]{1,100}", host) else "another address"
