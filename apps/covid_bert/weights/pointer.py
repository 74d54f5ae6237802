"""The pointer to the live version of a name: one small file, replaced together with a line of the history."""

from __future__ import annotations

import contextlib
import re

from covid_bert.errors import WeightsError
from covid_bert.files import write_atomically
from covid_bert.weights.history import Publication, way_back, with_lines
from covid_bert.weights.location import check_name, weights_root

POINTER_FILE = "live"
VERSION = re.compile(r"v\d{3,}")
# What comes with the program has a series of its own; the first release numbered it like a site's versions.
SHIPPED_VERSION = re.compile(r"[rv]\d{3,}")


def pointed_version(name: str) -> str | None:
    """The version that the pointer of `name` names, which need not exist; None without a pointer.

    Raises
    ------
    WeightsError
        If the pointer is damaged.
    """
    try:
        content = (weights_root() / check_name(name) / POINTER_FILE).read_bytes().strip()
    except FileNotFoundError:
        return None
    version = content.decode("ascii", errors="replace")
    if VERSION.fullmatch(version) is None:
        raise WeightsError(
            f"The pointer to the live version of {name} is damaged.",
            f"Run `covid-bert weights publish {name} VERSION` with a version of `covid-bert weights list`.",
        )
    return version


def move_pointer(name: str, version: str | None, by: str, reason: str, *, back: bool = False) -> None:
    """Move the pointer and record it, both or neither, inside `covid_bert.weights.history.publishing`.

    Parameters
    ----------
    name
        Of the weights.
    version
        That goes live, checked by the caller; None takes the pointer away.
    by, reason, back
        See `covid_bert.weights.history.Publication`.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    pointer = weights_root() / name / POINTER_FILE
    lines = [Publication.now(version, by, reason, back=back)]
    with contextlib.suppress(WeightsError):
        current = pointed_version(name)
        if current != way_back(name)[-1]:
            # Moved before there was a history, or by hand.
            lines.insert(0, Publication.now(current, "", "It was live already."))
    with with_lines(name, lines):
        if version is None:
            pointer.unlink(missing_ok=True)
        else:
            write_atomically(pointer, f"{version}\n")
