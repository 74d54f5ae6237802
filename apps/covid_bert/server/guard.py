"""Which requests reach the application: those that name this server, and no web page of another site."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from covid_bert.server.replies import error_reply


class AddressGuard:
    """ASGI middleware against web pages that drive a server of their reader's network.

    A page of another site can send requests here (its Origin tells), or point its own name at this server (the Host
    tells). Both are refused; programs send no Origin, and the server's own pages name its own address.

    Parameters
    ----------
    app
        The application behind.
    hosts
        Names and addresses of this server, without port.
    origins
        Web pages of other addresses that may call it, as ``https://name:port``.
    """

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str], origins: Iterable[str] = ()) -> None:
        self.app = app
        self.hosts = frozenset(host.lower() for host in hosts)
        self.origins = frozenset(origin.lower() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 403."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        wrong = None
        # Browsers tell it; a page of another site can ask for images without an Origin.
        foreign = headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}
        if foreign and headers.get("origin", "").lower() not in self.origins:
            wrong = "Sec-Fetch-Site"
        elif len(headers.getlist("host")) != 1 or _host_of(f"//{headers['host']}") not in self.hosts:
            wrong = "Host"
        elif not all(self._may_call(origin, headers["host"]) for origin in headers.getlist("origin")):
            wrong = "Origin"
        if wrong is None:
            await self.app(scope, receive, send)
            return
        reply = error_reply(
            scope,
            403,
            "forbidden",
            f"Requests with this {wrong} are refused.",
            "Call the server by a name that it knows; its operator sets them as allowed_hosts and allowed_origins.",
        )
        await reply(scope, receive, send)

    def _may_call(self, origin: str, host: str) -> bool:
        origin = origin.lower()
        return origin in self.origins or origin in {f"http://{host.lower()}", f"https://{host.lower()}"}


def _host_of(address: str) -> str | None:
    try:
        parts = urlsplit(address)
        return None if parts.username is not None or parts.path or parts.query or parts.fragment else parts.hostname
    except ValueError:
        return None
