"""What every group of requests shares."""

from __future__ import annotations

from .link import Link


class Requests:
    """Requests of one kind to one server; `covid_bert.client.Client` is all of them together.

    Parameters
    ----------
    link
        The way to the server.
    token
        The client's token, which no text of the server may repeat, or None.
    """

    def __init__(self, link: Link, token: str | None) -> None:
        self._link = link
        self._token = token
