"""One version of weights on disk: its folder with the file and the manifest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from covid_bert.errors import WeightsError
from covid_bert.weights.files import remembered_sha256
from covid_bert.weights.identity import WeightsIdentity
from covid_bert.weights.manifest import Manifest

MODEL_FILE = "model.safetensors"
MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True)
class InstalledWeights:
    """One version.

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
    shipped
        True for weights that came with the program.
    """

    name: str
    version: str
    path: Path
    sha256: str
    manifest: Manifest
    shipped: bool = False

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
            raise WeightsError(f"The file of {self.name} {self.version} is missing.", self.repair_hint) from None
        if actual != self.sha256:
            raise WeightsError(
                f"{self.name} {self.version} is damaged: its SHA-256 is not the one in its manifest.",
                self.repair_hint,
                expected=self.sha256,
                actual=actual,
            )
        return self

    def read_file(self, name: str) -> bytes | None:
        """Read one of the further files of this version; None if it has none of that name.

        Raises
        ------
        WeightsError
            If it is missing or was changed.
        """
        expected = self.manifest.files.get(name)
        if expected is None:
            return None
        try:
            content = (self.path.parent / name).read_bytes()
        except OSError as error:
            raise WeightsError(f"{name} of {self.name} {self.version} cannot be read.", self.repair_hint) from error
        if hashlib.sha256(content).hexdigest() != expected:
            raise WeightsError(f"{name} of {self.name} {self.version} was changed.", self.repair_hint)
        return content

    @property
    def repair_hint(self) -> str:
        """What to do when it is damaged."""
        return repair_hint(self.name, shipped=self.shipped)


def read_version(folder: Path, *, shipped: bool = False) -> InstalledWeights:
    """Read the manifest in the folder of a version.

    Parameters
    ----------
    folder
        Holds ``manifest.json`` and ``model.safetensors``, which is not opened.
    shipped
        Whether it came with the program.

    Raises
    ------
    WeightsError
        If the manifest is missing or damaged.
    """
    label = f"{folder.parent.name} {folder.name}"
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise WeightsError(
            f"The manifest of {label} is missing or damaged.", repair_hint(folder.parent.name, shipped=shipped)
        ) from error
    return InstalledWeights(manifest.name, manifest.version, folder / MODEL_FILE, manifest.sha256, manifest, shipped)


def repair_hint(name: str, *, shipped: bool) -> str:
    """What to do about a damaged version of `name`."""
    if shipped:
        return "These weights came with covid-bert: install the program again."
    return (
        "See `covid-bert weights verify`; install the weights again, or go back with "
        f"`covid-bert weights publish {name} VERSION`."
    )
