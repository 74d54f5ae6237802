"""Weights of one system, found together: the live version of the head, and the versions that it was fitted with.

So one pointer moves a whole system, and two systems may use different versions of the same weights at one time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from covid_bert.errors import WeightsError
from covid_bert.weights.registry import Role
from covid_bert.weights.serving import serviceable
from covid_bert.weights.store import installed, list_versions, live_version
from covid_bert.weights.version_folder import InstalledWeights

DENSITY = Role.DENSITY.value


@dataclass(frozen=True)
class Resolved:
    """What a system uses now.

    Parameters
    ----------
    weights
        By role; None where nothing is installed, and the network is untrained.
    warnings
        Sentences for the result, where something damaged was replaced.
    """

    weights: dict[str, InstalledWeights | None]
    warnings: tuple[str, ...] = ()


def resolve(names: Mapping[str, str], head: str | None) -> Resolved:
    """Find the weights of all networks of a system at one moment.

    Parameters
    ----------
    names
        Of the weights, by role.
    head
        Role whose live version decides; None where each network has its own live version.

    Returns
    -------
    Resolved
        Where the live version of the head, or what it was fitted with, is damaged: of the newest version that was live
        before it and whose companions are intact.

    Raises
    ------
    WeightsError
        If there is no such version either.
    """
    if head is None:
        return _completed(names, {})
    complete: list[Resolved] = []
    found = serviceable(names[head], lambda weights: complete.append(_with_companions(names, head, weights)))
    if found.weights is None:
        return _completed(names, {head: None})
    # What was found together with the version that is returned.
    resolved = complete[-1]
    return Resolved(resolved.weights, (*found.warnings, *resolved.warnings))


def companions(names: Mapping[str, str], head: str, weights: InstalledWeights) -> dict[str, InstalledWeights | None]:
    """Find what would be used if `weights` were the live version of the head; parameters as `resolve`.

    Raises
    ------
    WeightsError
        If something that they were fitted with is missing or damaged.
    """
    return _with_companions(names, head, weights).weights


def _with_companions(names: Mapping[str, str], head: str, weights: InstalledWeights) -> Resolved:
    chosen: dict[str, InstalledWeights | None] = {head: weights}
    for role, name in names.items():
        sha256 = weights.manifest.fitted_with.get(name)
        if role not in (head, DENSITY) and sha256 is not None:
            chosen[role] = _by_content(name, sha256, weights)
    density = names.get(DENSITY)
    if density is not None and (fitting := _density(density, chosen)) is not None:
        chosen[DENSITY] = fitting
    return _completed(names, chosen)


def _completed(names: Mapping[str, str], chosen: Mapping[str, InstalledWeights | None]) -> Resolved:
    """Complete what was chosen by live versions, in the order of the roles."""
    weights: dict[str, InstalledWeights | None] = {}
    warnings: list[str] = []
    for role, name in names.items():
        if role in chosen:
            weights[role] = chosen[role]
            continue
        found = serviceable(name)
        weights[role] = found.weights
        warnings += found.warnings
    return Resolved(weights, tuple(warnings))


def _by_content(name: str, sha256: str, needed_by: InstalledWeights) -> InstalledWeights | None:
    """The version with this very file; None if nothing at all is live under the name, as for an untrained network."""
    versions = list_versions(name)
    with contextlib.suppress(WeightsError):
        current = live_version(name)
        if current in versions:
            # Of equal files the one that is live.
            versions.append(current)
    damaged: WeightsError | None = None
    for weights in _readable(name, reversed(versions)):
        if weights.sha256 == sha256:
            try:
                return weights.verified()
            except WeightsError as error:
                damaged = error
    if damaged is not None:
        raise damaged
    if not versions:
        return None
    raise WeightsError(
        f"The weights {needed_by.name} were trained on the output of another version of {name} than those installed.",
        "Install that version, or publish another one: `covid-bert weights list` shows them.",
    )


def _density(name: str, present: Mapping[str, InstalledWeights | None]) -> InstalledWeights | None:
    """The density of these very networks: of several that which names most of them, and of these the newest."""
    at_hand = {weights.name: weights.sha256 for weights in present.values() if weights is not None}
    fitting: list[tuple[int, InstalledWeights]] = []
    for weights in _readable(name, reversed(list_versions(name))):
        named = {key: value for key, value in weights.manifest.fitted_with.items() if key in at_hand}
        if named and named.items() <= at_hand.items():
            fitting.append((len(named), weights))
    damaged: WeightsError | None = None
    for _, weights in sorted(fitting, key=lambda item: -item[0]):
        try:
            return weights.verified()
        except WeightsError as error:
            damaged = damaged or error
    if damaged is not None:
        raise damaged
    return None


def _readable(name: str, versions: Iterator[str]) -> Iterator[InstalledWeights]:
    for version in versions:
        with contextlib.suppress(WeightsError):
            yield installed(name, version)
