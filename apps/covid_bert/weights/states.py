"""What each version is now: live, waiting, replaced or damaged."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from covid_bert.errors import WeightsError
from covid_bert.weights.history import history
from covid_bert.weights.store import installed, list_versions, live_version
from covid_bert.weights.version_folder import InstalledWeights


class State(str, Enum):
    """What a version is now; of several that fit, the first one."""

    DAMAGED = "damaged"
    LIVE = "live"
    SHIPPED = "shipped"
    FORMER = "former"
    CANDIDATE = "candidate"


@dataclass(frozen=True)
class VersionState:
    """One version.

    Parameters
    ----------
    version
        Its name.
    state
        What it is now.
    weights
        None if its manifest cannot be read.
    is_live
        Whether the pointer names it, also if it is damaged.
    """

    version: str
    state: State
    weights: InstalledWeights | None
    is_live: bool


def version_states(name: str) -> list[VersionState]:
    """All versions of some weights, newest first.

    Parameters
    ----------
    name
        Of the weights, for instance the head of a model.
    """
    try:
        current = live_version(name)
    except WeightsError:
        current = None
    former = {line.version for line in history(name)}
    return [_state(name, version, current, former) for version in reversed(list_versions(name))]


def _state(name: str, version: str, current: str | None, former: set[str | None]) -> VersionState:
    is_live = version == current
    try:
        weights = installed(name, version)
    except WeightsError:
        return VersionState(version, State.DAMAGED, None, is_live)
    try:
        weights.verified()
    except WeightsError:
        return VersionState(version, State.DAMAGED, weights, is_live)
    if is_live:
        state = State.LIVE
    elif weights.shipped:
        state = State.SHIPPED
    else:
        state = State.FORMER if version in former else State.CANDIDATE
    return VersionState(version, state, weights, is_live)
