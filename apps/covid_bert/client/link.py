"""The way to one server: whether it is one that this client speaks with, and requests with all their attempts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any, TypeVar

from . import errors
from .address import Address
from .answers import read_json, wrong_server
from .backoff import Backoff, CallbackError, Cancelled
from .connection import Body, Connector
from .names import is_plain_name

PROGRAM = "covid-bert"
# Servers of one series keep the routes and fields that this client uses.
SERVER_SERIES = "0.1"
# After this time the server is asked again: it may have been updated.
_KNOWN_SECONDS = 300.0

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Readiness:
    """Whether a server can compute now.

    Parameters
    ----------
    ready
        Whether models and studies can be used.
    reason
        One sentence that says what is missing; ``""`` if it is ready.
    hint
        One sentence that says what to do about it.
    """

    ready: bool
    reason: str
    hint: str


class Link:
    """Sends requests to one server, after asking it what it is.

    Parameters
    ----------
    connector
        Opens the connections.
    backoff
        How requests are tried again.
    """

    def __init__(self, connector: Connector, backoff: Backoff) -> None:
        self._connector = connector
        self._backoff = backoff
        self._known_until = 0.0

    @property
    def address(self) -> Address:
        """Where the server is."""
        return self._connector.address

    def version(self, cancelled: Cancelled | None = None) -> str:
        """Ask the server for its version, without sending the token.

        Raises
        ------
        WrongServerError
            If it is not a covid-bert server.
        VersionMismatchError
            If its version does not fit this client.
        """
        try:
            content = self._send("GET", "/version", read_json, None, cancelled, with_token=False)
        except (errors.NotFoundError, errors.InvalidAnswerError, errors.TokenMissingError):
            raise wrong_server(self.address) from None
        version = content.get("version")
        if content.get("name") != PROGRAM or not is_plain_name(version):
            raise wrong_server(self.address)
        if not f"{version}.".startswith(f"{SERVER_SERIES}."):
            raise errors.VersionMismatchError(
                f"The server is of version {version}, this client speaks with {SERVER_SERIES}.",
                "Update whichever of the two is older.",
            )
        self._known_until = time.monotonic() + _KNOWN_SECONDS
        return str(version)

    def readiness(self) -> Readiness:
        """Ask once whether the server can compute now, without sending the token."""
        try:
            with self._connector.exchange("GET", "/readyz", with_token=False):
                return Readiness(True, "", "")
        except errors.ClientError as error:
            if error.status == 503:
                return Readiness(False, error.message, error.hint)
            raise

    def ask(
        self,
        method: str,
        path: str,
        read: Callable[[HTTPResponse], Answer],
        body: Body | None = None,
        *,
        cancelled: Cancelled | None = None,
    ) -> Answer:
        """Send a request with the token, as often as makes sense, and return what ``read`` makes of the answer.

        Parameters
        ----------
        method
            GET, POST, PUT or DELETE; only a GET is sent again when it may have arrived.
        path
            Route, with names that need no quoting.
        read
            Reads the answer.
        body
            What the request carries, or None.
        cancelled
            Asked before each attempt and during the pauses.

        Raises
        ------
        ClientError
            The error of the last attempt.
        """
        if time.monotonic() >= self._known_until:
            # Neither token nor study goes to something that does not say that it is our server.
            self.version(cancelled)
        return self._send(method, path, read, body, cancelled, with_token=True)

    def _send(
        self,
        method: str,
        path: str,
        read: Callable[[HTTPResponse], Answer],
        body: Body | None,
        cancelled: Cancelled | None,
        *,
        with_token: bool,
    ) -> Answer:
        def attempt() -> Answer:
            with self._connector.exchange(method, path, body, with_token=with_token) as response:
                return read(response)

        try:
            return self._backoff.run(attempt, repeatable=method == "GET", cancelled=cancelled)
        except CallbackError as error:
            raise error.cause from None


class JsonBody:
    """A JSON object as the body of a request.

    Raises
    ------
    InvalidRequestError
        If it holds something that JSON cannot.
    """

    content_type = "application/json"

    def __init__(self, content: dict[str, Any]) -> None:
        try:
            self._content = json.dumps(content, allow_nan=False).encode("ascii")
        except (TypeError, ValueError, RecursionError):
            raise errors.InvalidRequestError(
                "The parameters hold something that JSON cannot.", "Use numbers, texts, lists and true or false."
            ) from None
        self.length = len(self._content)

    def pieces(self) -> Iterator[bytes]:
        """The object, in one piece."""
        yield self._content
