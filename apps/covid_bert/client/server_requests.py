"""What a server is, and whose token it sees."""

from __future__ import annotations

from typing import Any

from .answers import read_json
from .base import Requests
from .link import Readiness
from .records import User, read_user


class ServerRequests(Requests):
    """Questions about the server itself."""

    def version(self) -> str:
        """Ask what answers at the address, without sending the token.

        Returns
        -------
        str
            The server's version.

        Raises
        ------
        WrongServerError
            If it is not a covid-bert server.
        VersionMismatchError
            If its version does not fit this client.
        """
        return self._link.version()

    def readiness(self) -> Readiness:
        """Ask once whether the server can compute now, and why not, without sending the token."""
        return self._link.readiness()

    def user(self) -> User:
        """Return whose token the server sees, and what he may do."""
        return read_user(self._link.ask("GET", "/auth/token/valid", read_json), self._token)

    def info(self) -> dict[str, Any]:
        """Return the server's models, labels and settings, as in MONAI Label's ``GET /info/``."""
        return self._link.ask("GET", "/info/", read_json)
