"""How often a client may ask."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from covid_bert.server.access import HEALTH, find
from covid_bert.server.replies import error_reply, route_path

_MOST_CLIENTS = 10_000


class RateLimit:
    """ASGI middleware against clients that ask too often: 429 with Retry-After.

    Each address has a bucket that holds one minute's requests and fills evenly. The routes of
    `covid_bert.server.access.HEALTH` are not counted.

    Parameters
    ----------
    app
        The application behind.
    per_minute
        Requests in a minute from one address, at least 1.
    clock
        Seconds that never go back.
    """

    def __init__(self, app: ASGIApp, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.app = app
        self.per_minute = per_minute
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 429."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        entry = find(scope["method"], route_path(scope))
        if entry is not None and (entry.method, entry.path) in HEALTH:
            await self.app(scope, receive, send)
            return
        wait = self._wait(_network_of((scope.get("client") or ("", 0))[0]))
        if wait == 0:
            await self.app(scope, receive, send)
            return
        reply = error_reply(
            scope,
            429,
            "too-many-requests",
            f"More than {self.per_minute} requests came in a minute from this address.",
            f"Wait {wait} seconds; the operator sets the limit as requests_per_minute.",
            headers={"Retry-After": str(wait)},
        )
        await reply(scope, receive, send)

    def _wait(self, address: str) -> int:
        """Take one request from an address's bucket; return 0, or the seconds until there is one."""
        now = self._clock()
        left, then = self._buckets.pop(address, (float(self.per_minute), now))
        left = min(float(self.per_minute), left + (now - then) * self.per_minute / 60)
        allowed = left >= 1
        self._buckets[address] = (left - 1 if allowed else left, now)
        if len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return 0 if allowed else math.ceil((1 - left) * 60 / self.per_minute)


def _network_of(address: str) -> str:
    """The address, or for IPv6 the network, of which one client may have all addresses."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    return str(known if known.version == 4 else ipaddress.ip_network((known, 64), strict=False))
