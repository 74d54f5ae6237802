"""Time for the job queue, which no change of the computer's clock moves."""

from __future__ import annotations

import time
from datetime import datetime, timezone


class SteadyClock:
    """Seconds since the epoch: the computer's clock when the object is made, and from there only forward.

    A clock that is set back while the server runs would otherwise keep results longer than promised, and one that
    is set forward would drop them early.
    """

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self._offset + time.monotonic()


def iso(seconds: float | None) -> str | None:
    """Return a time as ISO 8601 in UTC, to the millisecond; None stays None."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
