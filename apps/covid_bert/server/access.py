"""Who may call what: one table of all routes. A route that is not in it is neither offered nor answered."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType


class Role(str, Enum):
    """What the holder of a token may do; each role may also do what the ones before it may."""

    READER = "reader"
    ANNOTATOR = "annotator"
    ADMIN = "admin"

    def covers(self, needed: Role) -> bool:
        """Return whether this role may do what `needed` may."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True)
class Entry:
    """A route and the least role for it.

    Parameters
    ----------
    method
        HTTP method in capitals.
    path
        Template as in the application's routes.
    role
        None for the routes that need no token.
    """

    method: str
    path: str
    role: Role | None


_TABLE: tuple[tuple[Role | None, tuple[str, ...]], ...] = (
    (None, ("GET /healthz", "GET /readyz", "GET /version", "GET /auth/", "POST /auth/token")),
    (
        Role.READER,
        (
            "GET /openapi.json",
            # It names nobody, and who watches a server must not hold a token that can remove studies.
            "GET /metrics",
            "GET /auth/token/valid",
            "GET /info/",
            "GET /datastore/",
            "HEAD /datastore/image",
            "GET /datastore/image",
            "GET /datastore/image/info",
            "HEAD /datastore/label",
            "GET /datastore/label",
            "GET /datastore/label/info",
            "POST /infer/{model}",
            "GET /batch/infer",
            "PUT /session/",
            "GET /session/{session_id}",
            "DELETE /session/{session_id}",
            "POST /session/{session_id}/heartbeat",
            "GET /datastore/label/versions",
            "GET /datastore/label/version",
            "GET /datastore/study-label",
            "POST /jobs",
            "GET /jobs",
            "GET /jobs/{identifier}",
            "DELETE /jobs/{identifier}",
            "GET /jobs/{identifier}/result",
            "GET /jobs/{identifier}/file",
            "GET /weights",
            "GET /weights/{model}/{version}",
        ),
    ),
    (
        Role.ANNOTATOR,
        (
            # It writes into the study's information that it was handed out.
            "POST /activelearning/{strategy}",
            "PUT /datastore/",
            "PUT /datastore/image",
            "PUT /datastore/image/info",
            "PUT /datastore/label",
            "PUT /datastore/label/info",
            "PUT /datastore/updatelabelinfo",
            "PUT /datastore/study-label",
        ),
    ),
    (
        Role.ADMIN,
        (
            "DELETE /datastore/",
            "DELETE /datastore/image",
            "DELETE /datastore/label",
            "GET /datastore/dataset",
            "POST /batch/infer/{model}",
            "DELETE /batch/infer",
            "POST /weights/{model}/publish",
            "POST /weights/{model}/rollback",
        ),
    ),
)
# What watches the server asks these every few seconds: they are always answered, and leave no line in the log.
HEALTH = frozenset({("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/version")})
# The routes that take files; the bodies of all others are small.
UPLOADS = frozenset(
    {
        ("POST", "/infer/{model}"),
        ("PUT", "/session/"),
        ("PUT", "/datastore/"),
        ("PUT", "/datastore/image"),
        ("PUT", "/datastore/label"),
    }
)

ACCESS = MappingProxyType(
    {
        (method, path): Entry(method, path, role)
        for role, routes in _TABLE
        for method, path in (route.split(" ", 1) for route in routes)
    }
)
_PATTERNS = tuple(
    (re.compile("[^/]+".join(re.escape(part) for part in re.split(r"\{\w+\}", entry.path))), entry)
    for entry in ACCESS.values()
)


def find(method: str, path: str) -> Entry | None:
    """Return the entry for a request, or None if there is no such route.

    Parameters
    ----------
    method
        HTTP method in capitals.
    path
        Path below the root path.
    """
    return next((entry for pattern, entry in _PATTERNS if entry.method == method and pattern.fullmatch(path)), None)
