"""The store: installed weights in numbered versions, with a pointer to the one that is live.

Layout, under `covid_bert.weights.location.weights_root`::

    <name>/v001/model.safetensors
    <name>/v001/manifest.json
    <name>/v001/training.json       and what else belongs to a version; named, with its SHA-256, in the manifest
    <name>/live                     holds the name of the live version
    <name>/history.jsonl            what was live, and when

Versions come from `covid_bert.weights.installing` and are never changed afterwards. A model goes live, or back, by
replacing the pointer. Weights that come with the program lie in the same layout, without a pointer, under
`covid_bert.weights.location.shipped_root`: they are live under a name without a pointer. Theirs is another series
(``r001``), so that no update of the program brings a version that is called like one of the site; numbers of both go
on from all that there are. No torch is imported until tensors are read.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from covid_bert.errors import ConflictError, WeightsError
from covid_bert.weights.files import explained
from covid_bert.weights.history import publishing
from covid_bert.weights.identity import WeightsIdentity
from covid_bert.weights.location import check_name, shipped_root, weights_root
from covid_bert.weights.pointer import SHIPPED_VERSION, VERSION, move_pointer, pointed_version
from covid_bert.weights.registry import NAME_PATTERN, find
from covid_bert.weights.version_folder import MANIFEST_FILE, InstalledWeights, read_version, repair_hint

if TYPE_CHECKING:
    from torch import nn


def list_names() -> list[str]:
    """Names under which anything is installed or shipped, sorted."""
    roots = [root for root in (weights_root(), shipped_root()) if root.is_dir()]
    found = {item.name for root in roots for item in root.iterdir() if item.is_dir()}
    return sorted(name for name in found if re.fullmatch(NAME_PATTERN, name))


def list_versions(name: str) -> list[str]:
    """Installed and shipped versions of `name`, oldest first."""
    folders = [*_folders(weights_root() / check_name(name), VERSION), *_shipped(name)]
    # Both series may have a number: the order is the same every time.
    return sorted({folder.name for folder in folders}, key=lambda version: (version_number(version), version))


def live_version(name: str) -> str | None:
    """The version that the pointer of `name` names, which need not exist; without a pointer the newest shipped one.

    Raises
    ------
    WeightsError
        If the pointer is damaged.
    """
    pointed = pointed_version(name)
    if pointed is not None:
        return pointed
    folders = _shipped(name)
    return folders[-1].name if folders else None


def standing(name: str) -> str:
    """What now decides which version of `name` is live, for `publish`: never an error.

    That is the version that `live_version` names, which may be damaged; of a damaged pointer the error's message; empty
    where nothing is live.
    """
    try:
        return live_version(name) or ""
    except WeightsError as error:
        return error.message


def live(name: str) -> InstalledWeights | None:
    """The live version of `name`, or None if nothing is live.

    Raises
    ------
    WeightsError
        If the pointer names a version that is not there, or its manifest is damaged.
    """
    pointed = pointed_version(name)
    return installed(name, pointed) if pointed is not None else newest_shipped(name)


def newest_shipped(name: str) -> InstalledWeights | None:
    """The newest version of `name` that came with the program, or None.

    Raises
    ------
    WeightsError
        If its manifest is damaged.
    """
    folders = _shipped(check_name(name))
    return _read(folders[-1], shipped=True) if folders else None


def installed(name: str, version: str) -> InstalledWeights:
    """One version of `name`; the user's own goes before one of the same name that the first release shipped.

    Raises
    ------
    WeightsError
        If it is not installed, or its manifest is damaged.
    """
    check_name(name)
    for root, pattern, shipped in ((weights_root(), VERSION, False), (shipped_root(), SHIPPED_VERSION, True)):
        if pattern.fullmatch(version) is not None and (root / name / version).is_dir():
            return _read(root / name / version, shipped=shipped)
    versions = list_versions(name)
    raise WeightsError(
        f"Version {version!r} of {name} is not installed.",
        f"Installed are {', '.join(versions)}." if versions else _install_hint(name),
        versions=versions,
    )


def intact_versions(name: str) -> list[InstalledWeights]:
    """Versions of `name` whose manifest and file are sound, newest first."""
    found = []
    for version in reversed(list_versions(name)):
        with contextlib.suppress(WeightsError):
            found.append(installed(name, version).verified())
    return found


def publish(
    name: str, version: str, *, by: str = "", reason: str = "", instead_of: str | None = None
) -> InstalledWeights:
    """Make `version` the live one, after checking its file; the shipped one by taking the pointer away.

    Parameters
    ----------
    name, version
        Installed or shipped.
    by, reason
        For the history: name of the token or program, and a sentence.
    instead_of
        If given, what `standing` must still say: what was compared with one version may replace no other.

    Raises
    ------
    WeightsError
        If it is not installed or damaged, or cannot be recorded; the pointer then stays as it was.
    ConflictError
        If `standing` says something else than `instead_of`.
    BusyError
        If another version is being published for half a minute.
    """
    weights = installed(name, version).verified()
    with explained("publish the weights"), publishing(name):
        if instead_of is not None and standing(name) != instead_of:
            raise ConflictError(
                f"Another version of {name} went live than the one that {version} was compared with.",
                "Compare it with the one that is live now, then publish it.",
            )
        # Without a pointer the shipped version is live, also the one that an update of the program brings.
        move_pointer(name, None if weights.shipped else version, by, reason)
    return weights


def load_into(
    module: nn.Module,
    weights: str | Path | InstalledWeights,
    version: str | None = None,
    *,
    architecture: str | None = None,
) -> WeightsIdentity:
    """Load installed weights into a network, after checking the file's SHA-256 and all names and shapes.

    Parameters
    ----------
    module
        The network; unchanged on any error.
    weights
        A name in the store, a version from it, or the path of a ``model.safetensors`` (or of its folder) with its
        ``manifest.json``.
    version
        Of a name in the store; the live one when None.
    architecture
        If given, the weights must be of this architecture: two networks can have the same tensors and compute
        different things.

    Returns
    -------
    WeightsIdentity
        For the result's provenance.

    Raises
    ------
    WeightsError
        If the weights are missing, damaged or of another network; the first mismatches are named.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    from covid_bert.weights.layouts import mismatches

    chosen = _choose(weights, version).verified()
    if architecture is not None and chosen.manifest.architecture != architecture:
        raise WeightsError(
            f"{chosen.name} {chosen.version} is of network {chosen.manifest.architecture}, not {architecture}.",
            "Choose weights of that network.",
        )
    try:
        with safe_open(chosen.path, framework="pt") as file:
            found = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
        expected = {key: tuple(value.shape) for key, value in module.state_dict().items()}
        problems = mismatches(found, expected)
        if problems:
            raise WeightsError(
                f"{chosen.name} {chosen.version} does not fit the network: {'; '.join(problems)}.",
                "Choose weights of that network.",
                mismatches=problems,
            )
        module.load_state_dict(load_file(chosen.path))
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{chosen.name} {chosen.version} cannot be read.", chosen.repair_hint) from error
    return chosen.identity


def _choose(weights: str | Path | InstalledWeights, version: str | None) -> InstalledWeights:
    if isinstance(weights, InstalledWeights):
        return weights
    if isinstance(weights, Path):
        return _read_path(weights)
    return installed(weights, version) if version is not None else _live_or_error(weights)


def _live_or_error(name: str) -> InstalledWeights:
    weights = live(name)
    if weights is not None:
        return weights
    versions = list_versions(name)
    hint = (
        f"Make one live with `covid-bert weights publish {name} {versions[-1]}`." if versions else _install_hint(name)
    )
    raise WeightsError(f"No version of {name} is {'live' if versions else 'installed'}.", hint, versions=versions)


def _read_path(path: Path) -> InstalledWeights:
    folder = path if path.is_dir() else path.parent
    if not (folder / MANIFEST_FILE).is_file():
        raise WeightsError(
            f"There is no {MANIFEST_FILE} beside {path.name}.",
            "Install the file with `covid-bert weights import FILE` and use its name.",
        )
    return read_version(folder)


def _read(folder: Path, *, shipped: bool) -> InstalledWeights:
    """Read a version of the store, which must be the one that its folder names."""
    weights = read_version(folder, shipped=shipped)
    name, version = folder.parent.name, folder.name
    if (weights.name, weights.version) != (name, version):
        raise WeightsError(
            f"The manifest of {name} {version} belongs to other weights.", repair_hint(name, shipped=shipped)
        )
    return weights


def _shipped(name: str) -> list[Path]:
    """Folders of the versions that came with the program, oldest first."""
    return _folders(shipped_root() / name, SHIPPED_VERSION)


def _folders(parent: Path, pattern: re.Pattern[str]) -> list[Path]:
    """Folders of versions, oldest first."""
    if not parent.is_dir():
        return []
    found = [item for item in parent.iterdir() if item.is_dir() and pattern.fullmatch(item.name)]
    return sorted(found, key=lambda item: version_number(item.name))


def version_number(version: str) -> int:
    """The number of a version's name."""
    return int(version[1:])


def _install_hint(name: str) -> str:
    entry = find(name)
    if entry is not None and entry.url is not None:
        return f"Get them with `covid-bert weights fetch {name}`."
    return f"Bring them in with `covid-bert weights import FILE --name {name}`."
