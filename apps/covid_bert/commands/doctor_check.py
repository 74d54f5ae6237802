"""What a check of `covid-bert doctor` says."""

from __future__ import annotations

from dataclasses import dataclass

OK, NOTE, FAULT = "ok", "note", "fault"


@dataclass(frozen=True)
class Check:
    """One line.

    Parameters
    ----------
    subject
        What was checked.
    state
        ok, note (works, with a limit) or fault (something the user asked for cannot work).
    finding
        What was found.
    remedy
        What to do about it; empty if nothing.
    """

    subject: str
    state: str
    finding: str
    remedy: str = ""
