"""Times as MONAI Label's clients read them."""

from __future__ import annotations

import time
from datetime import datetime, timezone


def stamp(seconds: float | None = None) -> str:
    """Return a time in UTC, to the second.

    Parameters
    ----------
    seconds
        Since the epoch; None for now.
    """
    moment = datetime.fromtimestamp(time.time() if seconds is None else seconds, timezone.utc)
    return moment.strftime("%Y-%m-%d %H:%M:%S")
