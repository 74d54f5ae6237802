"""How an archive is, in one typed form."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from covid_bert.pacs.errors import PacsError


class Condition(str, Enum):
    """How an archive is."""

    UNKNOWN = "unknown"
    READY = "ready"
    SLOW = "slow"
    DOWN = "down"
    REFUSED = "refused"


@dataclass(frozen=True)
class PacsState:
    """What the last answer, or the lack of one, says of an archive.

    Parameters
    ----------
    condition
        How it is.
    since
        When it became so, in seconds since 1970.
    seconds
        That the last answer took.
    error
        What the last request failed with; None if it went well.
    """

    condition: Condition
    since: float
    seconds: float = 0.0
    error: PacsError | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it for clients and logs: no address and no name in it."""
        facts = {"state": self.condition.value, "since": round(self.since), "seconds": round(self.seconds, 3)}
        if self.error is None:
            return facts
        return {**facts, "code": self.error.code, "message": self.error.message, "hint": self.error.hint}
