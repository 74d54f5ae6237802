"""Which version serves when the live one cannot, the way back, and the version by which all others are held."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from covid_bert.errors import ConflictError, WeightsError
from covid_bert.weights.files import explained
from covid_bert.weights.history import history, publishing, way_back
from covid_bert.weights.pointer import move_pointer, pointed_version
from covid_bert.weights.store import installed, list_versions, live, newest_shipped
from covid_bert.weights.version_folder import InstalledWeights


@dataclass(frozen=True)
class Serviceable:
    """Weights that can be used now.

    Parameters
    ----------
    weights
        The live version or, if that is damaged, one that was live before it; None if nothing is live.
    warning
        A sentence for the result where it is not the live version.
    """

    weights: InstalledWeights | None
    warning: str | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warning, if there is one."""
        return (self.warning,) if self.warning else ()


def serviceable(name: str, check: Callable[[InstalledWeights], object] = lambda _: None) -> Serviceable:
    """Return the live version of `name` or, if it is damaged, the newest intact one that was live before it.

    Parameters
    ----------
    name
        Of the weights.
    check
        Further condition on a version, raised as `WeightsError`: for instance that networks it needs are intact too.

    Raises
    ------
    WeightsError
        If the live version is damaged and none before it is intact: what is wrong with the live one.
    """
    try:
        current = live(name)
        if current is not None:
            check(current.verified())
        return Serviceable(current)
    except WeightsError as error:
        for weights in _earlier(name):
            with contextlib.suppress(WeightsError):
                check(weights.verified())
                return Serviceable(weights, _warning(error, weights))
        raise error


def anchor(name: str, check: Callable[[InstalledWeights], object] = lambda _: None) -> InstalledWeights | None:
    """Return the version of `name` by which all others are held: the shipped one, else the first that was live.

    Parameters
    ----------
    name, check
        As for `serviceable`: what is damaged, or does not meet the condition, is passed over.

    Returns
    -------
    InstalledWeights or None
        None if none is intact.
    """
    for version in dict.fromkeys([None, *(line.version for line in history(name))]):
        with contextlib.suppress(WeightsError):
            found = newest_shipped(name) if version is None else installed(name, version)
            if found is not None:
                check(found.verified())
                return found
    return None


def rollback(
    name: str, *, by: str = "", reason: str = "", check: Callable[[InstalledWeights], object] = lambda _: None
) -> InstalledWeights:
    """Make live again what was live before the live version, passing over what is damaged since.

    Parameters
    ----------
    name
        Of the weights.
    by, reason
        For the history: name of the token or program, and a sentence.
    check
        As for `serviceable`: versions that do not meet it are passed over like damaged ones.

    Returns
    -------
    InstalledWeights
        What is live now; the shipped version if none was published before.

    Raises
    ------
    ConflictError
        If nothing was live before.
    WeightsError
        If no version is installed, or it cannot be written.
    BusyError
        If another version is being published for half a minute.
    """
    if not list_versions(name):
        raise WeightsError(f"No version of {name} is installed.", "`covid-bert weights list` shows the names.")
    with explained("publish the weights"), publishing(name):
        for weights in _earlier(name):
            with contextlib.suppress(WeightsError):
                check(weights.verified())
                version = None if weights.shipped else weights.version
                move_pointer(name, version, by, reason, back=True)
                return weights
    raise ConflictError(
        f"There is no version of {name} that was live before and is intact.",
        f"Choose one with `covid-bert weights publish {name} VERSION`.",
    )


def _earlier(name: str) -> Iterator[InstalledWeights]:
    """What was live before the live version, newest first, and the shipped one last; without what cannot be read."""
    versions: list[str | None] = way_back(name)
    seen: set[str | None] = set()
    with contextlib.suppress(WeightsError):
        seen.add(pointed_version(name))
    for version in reversed([None, *versions]):
        if version in seen:
            continue
        seen.add(version)
        with contextlib.suppress(WeightsError):
            found = newest_shipped(name) if version is None else installed(name, version)
            if found is not None:
                yield found


def _warning(error: WeightsError, used: InstalledWeights) -> str:
    origin = ", which came with the program," if used.shipped else ""
    return f"{error.message} {used.name} {used.version}{origin} was used in its place."
