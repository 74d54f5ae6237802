"""The store: installed weights in numbered versions, with a pointer to the one that is live.

Layout, under `covid_bert.weights.location.weights_root`::

    <name>/v001/model.safetensors
    <name>/v001/manifest.json
    <name>/live                     holds the name of the live version

Versions come from `covid_bert.weights.installing` and are never changed afterwards. A model goes live, or back, by
replacing the pointer. No torch is imported until tensors are read.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from covid_bert.errors import WeightsError
from covid_bert.files import write_atomically
from covid_bert.weights.files import explained, remembered_sha256
from covid_bert.weights.identity import WeightsIdentity
from covid_bert.weights.location import check_name, weights_root
from covid_bert.weights.manifest import Manifest
from covid_bert.weights.registry import NAME_PATTERN, find

if TYPE_CHECKING:
    from torch import nn

MODEL_FILE = "model.safetensors"
MANIFEST_FILE = "manifest.json"
POINTER_FILE = "live"

_VERSION = re.compile(r"v(\d{3,})")


@dataclass(frozen=True)
class InstalledWeights:
    """One installed version.

    Parameters
    ----------
    name, version
        Under which it is installed.
    path
        Of ``model.safetensors``.
    sha256
        That file's, as the manifest has it; `verified` compares.
    manifest
        All that is known of it.
    """

    name: str
    version: str
    path: Path
    sha256: str
    manifest: Manifest

    @property
    def identity(self) -> WeightsIdentity:
        """What a result says of these weights."""
        return WeightsIdentity.of_manifest(self.manifest)

    def verified(self) -> InstalledWeights:
        """Return itself after comparing the file with its checksum.

        Raises
        ------
        WeightsError
            If the file is missing or was changed.
        """
        try:
            actual = remembered_sha256(self.path)
        except FileNotFoundError:
            raise WeightsError(f"The file of {self.name} {self.version} is missing.", _repair_hint(self.name)) from None
        if actual != self.sha256:
            raise WeightsError(
                f"{self.name} {self.version} is damaged: its SHA-256 is not the one in its manifest.",
                _repair_hint(self.name),
                expected=self.sha256,
                actual=actual,
            )
        return self


def list_names() -> list[str]:
    """Names under which anything is installed, sorted."""
    root = weights_root()
    if not root.is_dir():
        return []
    return sorted(item.name for item in root.iterdir() if item.is_dir() and re.fullmatch(NAME_PATTERN, item.name))


def list_versions(name: str) -> list[str]:
    """Installed versions of `name`, oldest first."""
    folder = weights_root() / check_name(name)
    if not folder.is_dir():
        return []
    found = [item.name for item in folder.iterdir() if item.is_dir() and _VERSION.fullmatch(item.name)]
    return sorted(found, key=version_number)


def live_version(name: str) -> str | None:
    """The version that the pointer of `name` names, or None; it need not exist.

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
    if _VERSION.fullmatch(version) is None:
        raise WeightsError(
            f"The pointer to the live version of {name} is damaged.",
            f"Run `covid-bert weights publish {name} VERSION` with one of: {', '.join(list_versions(name)) or 'none'}.",
        )
    return version


def live(name: str) -> InstalledWeights | None:
    """The live version of `name`, or None if nothing is live.

    Raises
    ------
    WeightsError
        If the pointer names a version that is not there, or its manifest is damaged.
    """
    version = live_version(name)
    return None if version is None else installed(name, version)


def installed(name: str, version: str) -> InstalledWeights:
    """One version of `name`.

    Raises
    ------
    WeightsError
        If it is not installed, or its manifest is damaged.
    """
    folder = weights_root() / check_name(name) / version
    if _VERSION.fullmatch(version) is None or not folder.is_dir():
        versions = list_versions(name)
        raise WeightsError(
            f"Version {version!r} of {name} is not installed.",
            f"Installed are {', '.join(versions)}." if versions else _install_hint(name),
            versions=versions,
        )
    weights = _read(folder)
    if (weights.name, weights.version) != (name, version):
        raise WeightsError(f"The manifest of {name} {version} belongs to other weights.", _repair_hint(name))
    return weights


def intact_versions(name: str) -> list[InstalledWeights]:
    """Versions of `name` whose manifest and file are sound, newest first."""
    found = []
    for version in reversed(list_versions(name)):
        with contextlib.suppress(WeightsError):
            found.append(installed(name, version).verified())
    return found


def publish(name: str, version: str) -> InstalledWeights:
    """Make `version` the live one, after checking its file.

    Raises
    ------
    WeightsError
        If it is not installed or damaged; the pointer then stays as it was.
    """
    weights = installed(name, version).verified()
    with explained("publish the weights"):
        write_atomically(weights_root() / name / POINTER_FILE, f"{version}\n")
    return weights


def load_into(
    module: nn.Module, weights: str | Path, version: str | None = None, *, architecture: str | None = None
) -> WeightsIdentity:
    """Load installed weights into a network, after checking the file's SHA-256 and all names and shapes.

    Parameters
    ----------
    module
        The network; unchanged on any error.
    weights
        A name in the store, or the path of a ``model.safetensors`` (or of its folder) with its ``manifest.json``.
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

    chosen = (_read_path(weights) if isinstance(weights, Path) else _choose(weights, version)).verified()
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
        raise WeightsError(f"{chosen.name} {chosen.version} cannot be read.", _repair_hint(chosen.name)) from error
    return chosen.identity


def _choose(name: str, version: str | None) -> InstalledWeights:
    if version is not None:
        return installed(name, version)
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
    return _read(folder)


def _read(folder: Path) -> InstalledWeights:
    label = f"{folder.parent.name} {folder.name}"
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise WeightsError(
            f"The manifest of {label} is missing or damaged.", _repair_hint(folder.parent.name)
        ) from error
    return InstalledWeights(manifest.name, manifest.version, folder / MODEL_FILE, manifest.sha256, manifest)


def version_number(version: str) -> int:
    """The number of a version's name."""
    return int(version[1:])


def _install_hint(name: str) -> str:
    entry = find(name)
    if entry is not None and entry.url is not None:
        return f"Get them with `covid-bert weights fetch {name}`."
    return f"Bring them in with `covid-bert weights import FILE --name {name}`."


def _repair_hint(name: str) -> str:
    return (
        "See `covid-bert weights verify`; install the weights again, or go back with "
        f"`covid-bert weights publish {name} VERSION`."
    )
