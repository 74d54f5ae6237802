"""Which requests leave a line in the audit log, and what it says."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.types import Scope

from covid_bert.server.access import Entry
from covid_bert.server.audit import BEGUN
from covid_bert.server.replies import request_id

READING = frozenset({"GET", "HEAD", "OPTIONS"})
_STATE = "audited_study"
_QUIET_SECONDS = 60.0
_UNAUTHORIZED, _FORBIDDEN = 401, 403

_SESSION = "/session/{session_id}"

# What changes something and has no name here is recorded as "changed"; reading, only if it has one.
ACTIONS = MappingProxyType(
    {
        ("PUT", "/datastore/"): "image-uploaded",
        ("PUT", "/datastore/image"): "image-uploaded",
        ("PUT", "/datastore/image/info"): "image-information-written",
        ("DELETE", "/datastore/"): "image-removed",
        ("DELETE", "/datastore/image"): "image-removed",
        ("PUT", "/datastore/label"): "label-written",
        ("PUT", "/datastore/label/info"): "label-information-written",
        ("PUT", "/datastore/updatelabelinfo"): "label-information-written",
        ("DELETE", "/datastore/label"): "label-removed",
        ("PUT", "/datastore/study-label"): "study-label-written",
        ("PUT", "/session/"): "session-opened",
        ("DELETE", "/session/{session_id}"): "session-closed",
        ("POST", "/infer/{model}"): "job-submitted",
        ("POST", "/batch/infer/{model}"): "job-submitted",
        ("DELETE", "/batch/infer"): "job-cancelled",
        ("POST", "/jobs"): "job-submitted",
        ("DELETE", "/jobs/{identifier}"): "job-cancelled",
        ("POST", "/activelearning/{strategy}"): "study-handed-out",
        ("POST", "/weights/{model}/publish"): "weights-published",
        ("POST", "/weights/{model}/rollback"): "weights-rolled-back",
        ("GET", "/datastore/image"): "image-downloaded",
        ("GET", "/datastore/label"): "label-downloaded",
        ("GET", "/datastore/label/version"): "label-downloaded",
        ("GET", "/datastore/dataset"): "data-set-downloaded",
        ("GET", "/jobs/{identifier}/file"): "result-downloaded",
        # Only where the address asks for the image.
        ("GET", _SESSION): "session-downloaded",
    }
)
# Sent every few seconds, and changing nothing but a time.
_NOT_RECORDED = frozenset({("POST", "/session/{session_id}/heartbeat")})


@dataclass(frozen=True)
class AuditEvent:
    """What `covid_bert.server.audit.AuditLog.append` writes."""

    action: str
    outcome: str
    token: str | None = None
    role: str | None = None
    study: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def note_study(request: Request, study: str) -> None:
    """Say which study a request is about, where its address does not."""
    setattr(request.state, _STATE, study)


def event_of(scope: Scope, entry: Entry | None, status: int) -> AuditEvent | None:
    """Return the event of a request that changes something or fetches a patient's image, or tried to, else None.

    Parameters
    ----------
    scope
        The request's ASGI scope; its caller is known.
    entry
        Its place in the table of access.
    status
        HTTP status of the answer; 0 if there was none.
    """
    return _event(scope, entry, _outcome(status), {"status": status})


def beginning_of(scope: Scope, entry: Entry | None) -> AuditEvent | None:
    """Return the event of a request that is about to change something, else None; parameters as `event_of`."""
    if entry is None or entry.method in READING:
        return None
    return _event(scope, entry, BEGUN, {})


def _event(scope: Scope, entry: Entry | None, outcome: str, facts: Mapping[str, Any]) -> AuditEvent | None:
    # Requests that are refused before the login leave no line, or strangers could fill the disk.
    caller = scope.get("state", {}).get("caller")
    if entry is None or caller is None or entry.role is None:
        return None
    action = ACTIONS.get((entry.method, entry.path), None if entry.method in READING else "changed")
    looks_only = entry.method in READING and entry.path == _SESSION and "image" not in _asked(scope)
    if action is None or looks_only or (entry.method, entry.path) in _NOT_RECORDED:
        return None
    return AuditEvent(
        action,
        outcome,
        token=caller.name,
        role=caller.role.value,
        study=None if entry.path == _SESSION else _study(scope),
        facts={"route": f"{entry.method} {entry.path}", **facts, "request_id": request_id(scope)},
    )


class RefusedLogins:
    """Counts refused logins, so that guessing tokens cannot fill the disk: one line in a minute.

    Parameters
    ----------
    clock
        Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._quiet_until: float | None = None
        self._unwritten = 0

    def event_of(self, scope: Scope, status: int) -> AuditEvent | None:
        """Return the event of a refused login if it is time for a line, else None."""
        if status != _UNAUTHORIZED:
            return None
        now = self._clock()
        if self._quiet_until is not None and now < self._quiet_until:
            self._unwritten += 1
            return None
        facts = {"request_id": request_id(scope), "others_since_last_line": self._unwritten}
        self._quiet_until, self._unwritten = now + _QUIET_SECONDS, 0
        return AuditEvent("login-refused", "refused", facts=facts)


def _outcome(status: int) -> str:
    if status == _FORBIDDEN:
        return "refused"
    return "done" if 200 <= status < 300 else "failed"


def _study(scope: Scope) -> str | None:
    noted = scope.get("state", {}).get(_STATE)
    if isinstance(noted, str):
        return noted
    asked = _asked(scope)
    return next((asked[name][0] for name in ("image", "id", "label") if name in asked), None)


def _asked(scope: Scope) -> dict[str, list[str]]:
    try:
        return parse_qs(scope.get("query_string", b"").decode("latin-1"), max_num_fields=100)
    except ValueError:
        return {}
