"""Bringing a checkpoint into the store: read, recognise, check, convert, install."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import torch
from pydantic import ValidationError
from torch import Tensor

from covid_bert.errors import ParameterError, WeightsError
from covid_bert.networks import published_keys
from covid_bert.progress import Progress
from covid_bert.weights.checkpoint_file import Checkpoint, read_checkpoint
from covid_bert.weights.files import sha256_of
from covid_bert.weights.installing import add_version
from covid_bert.weights.layouts import LUNGMASK_R231, expected_shapes, is_lungmask_r231, mismatches
from covid_bert.weights.location import check_name
from covid_bert.weights.manifest import Manifest, Provenance, SourceFile
from covid_bert.weights.registry import RegistryEntry, Role, entries, find
from covid_bert.weights.store import intact_versions, live_version, publish
from covid_bert.weights.version_folder import MANIFEST_FILE, InstalledWeights

ROLES = {
    "r2plus1d34": Role.TRUNK,
    "r2plus1d18": Role.TRUNK,
    "r2plus1d34-bert": Role.CLIP_NETWORK,
    "study-bert": Role.STUDY_NETWORK,
    "study-bert-gelu": Role.STUDY_NETWORK,
    "embedding-mlp": Role.MLP,
    "embedding-mlp-256": Role.MLP,
    "efficientnet-b3": Role.SLICE_NETWORK,
    "lung-unet": Role.LUNGS,
    "lung-segmenter": Role.LUNGS,
    "lesion-segmenter": Role.LESIONS,
    "r2plus1d18-narrow-bert": Role.CLIP_NETWORK,
    "study-bert-narrow": Role.STUDY_NETWORK,
    "embedding-mlp-narrow": Role.MLP,
    "efficientnet-b0-narrow": Role.SLICE_NETWORK,
    "clip-density-narrow": Role.DENSITY,
    "slice-density-narrow": Role.DENSITY,
    LUNGMASK_R231: Role.LUNGS,
}


def import_checkpoint(path: Path, *, name: str | None = None, progress: Progress | None = None) -> InstalledWeights:
    """Install a published checkpoint, or weights that another installation of this program wrote.

    It goes live at once if nothing sound is live under its name; otherwise when it is published. A file that is
    installed already is not installed again.

    Parameters
    ----------
    path
        ``.pth``, ``.pt``, ``.pth.tar`` or ``.safetensors``.
    name
        Under which to install it; when None it follows from the file's checksum, its manifest, or its network.
    progress
        Gets the stages ``checksum``, ``read`` and ``install``.

    Returns
    -------
    InstalledWeights
        The installed version.

    Raises
    ------
    NotFoundError
        If there is no such file.
    ParameterError
        If `name` is not allowed, or is needed because several registry entries have this network.
    WeightsError
        If the file is damaged, unsafe, of an unknown network, does not fit it, holds NaN, or is not the file that its
        name promises. Nothing is then left behind.
    CancelledError
        If the user cancelled.
    """
    progress = progress or Progress()
    path = Path(path)
    if name is not None:
        check_name(name)
    with progress.stage("read"):
        checkpoint = read_checkpoint(path)
        architecture, tensors = recognise(checkpoint)
        check_tensors(architecture, tensors, path.name)
    with progress.stage("checksum"):
        sha256 = sha256_of(path, progress)
    # Once the version is written, a cancel comes too late: no further update that could raise.
    progress.update("install", 0.0)
    neighbour = _manifest_beside(path, sha256, architecture)
    name = name or (neighbour.name if neighbour else _name_for(architecture, path.name, sha256))
    provenance = _provenance(name, architecture, path.name, sha256, neighbour)
    weights = _already_installed(name, sha256) or add_version(name, tensors, provenance)
    live_is_intact = any(item.version == live_version(name) for item in intact_versions(name))
    return weights if live_is_intact else publish(name, weights.version)


def recognise(checkpoint: Checkpoint) -> tuple[str, dict[str, Tensor]]:
    """Tell the architecture of a checkpoint and give its state dict under this project's keys.

    Raises
    ------
    WeightsError
        If it is of no network that is known here.
    """
    tensors = checkpoint.tensors
    if checkpoint.architecture is not None and expected_shapes(checkpoint.architecture) is not None:
        return checkpoint.architecture, tensors
    if is_lungmask_r231({key: tuple(value.shape) for key, value in tensors.items()}):
        return LUNGMASK_R231, tensors
    return published_keys.convert(tensors)


def check_tensors(architecture: str, tensors: dict[str, Tensor], label: str) -> None:
    """Check names, shapes and finiteness of a state dict.

    Raises
    ------
    WeightsError
        Naming the first tensors that are wrong.
    """
    expected = expected_shapes(architecture)
    if expected is None:
        raise WeightsError(f"{label} is of a network that is not known here: {architecture}.", "Update covid-bert.")
    problems = mismatches({key: tuple(value.shape) for key, value in tensors.items()}, expected)
    if problems:
        raise WeightsError(
            f"{label} looks like network {architecture}, but does not fit it: {'; '.join(problems)}.",
            "It may be of another variant of the network, with other channels, tokens or classes.",
            mismatches=problems,
        )
    broken = [key for key, value in tensors.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if broken:
        raise WeightsError(
            f"{label} holds values that are not numbers, first in {broken[0]}.",
            "The training of this checkpoint diverged, or the file is damaged: use another one.",
            tensors=broken[:5],
        )


def _name_for(architecture: str, file_name: str, sha256: str) -> str:
    by_file = [item for item in entries() if item.matches_sha256(sha256) or item.file_name == file_name]
    if by_file:
        return by_file[0].name
    same = [item.name for item in entries() if item.architecture == architecture and item.known_sha256 is None]
    if len(same) > 1:
        raise ParameterError(
            f"{file_name} is of network {architecture}, and so are {' and '.join(same)}.",
            f"Say which it is with `--name`, for example `--name {same[0]}`.",
            candidates=same,
        )
    return same[0] if same else architecture


def _provenance(name: str, architecture: str, file_name: str, sha256: str, neighbour: Manifest | None) -> Provenance:
    """What is known of the file: from its own manifest, else from the registry, else only what it is.

    Raises
    ------
    WeightsError
        If `name` or the file's name promises a published file, and this is another one.
    """
    if neighbour is not None:
        return Provenance.model_validate({key: getattr(neighbour, key) for key in Provenance.model_fields})
    for item in entries():
        if item.name == name or item.file_name == file_name:
            _check_promise(item, architecture, file_name, sha256)
    published = next((item for item in entries() if item.matches_sha256(sha256)), None)
    match: Literal["sha256", "sha256-prefix", "none"] = "none"
    if published is not None:
        match = "sha256" if published.sha256 is not None else "sha256-prefix"
    source_file = SourceFile(name=file_name, sha256=sha256, registry_match=match)
    entry = find(name) or published
    if entry is None:
        return Provenance(architecture=architecture, role=ROLES[architecture], source_file=source_file)
    return Provenance.of_entry(entry, source_file)


def _check_promise(entry: RegistryEntry, architecture: str, file_name: str, sha256: str) -> None:
    if entry.architecture != architecture:
        raise WeightsError(
            f"{file_name} is of network {architecture}; {entry.name} is of {entry.architecture}.",
            "Choose another name with `--name`.",
        )
    if entry.known_sha256 is not None and not entry.matches_sha256(sha256):
        raise WeightsError(
            f"{file_name} is not the published file of {entry.name}: its SHA-256 should begin with "
            f"{entry.known_sha256[:8]} and begins with {sha256[:8]}.",
            "Download it again. If it is another model on purpose, rename the file and choose a name with `--name`.",
            expected=entry.known_sha256,
            actual=sha256,
        )


def _manifest_beside(path: Path, sha256: str, architecture: str) -> Manifest | None:
    """The manifest beside a file that this program wrote, if it is of that very file."""
    try:
        text = (path.parent / MANIFEST_FILE).read_text(encoding="utf-8")
        manifest = Manifest.model_validate(json.loads(text))
    except (OSError, ValueError, ValidationError):
        return None  # Any other file may be called manifest.json.
    return manifest if (manifest.sha256, manifest.architecture) == (sha256, architecture) else None


def _already_installed(name: str, sha256: str) -> InstalledWeights | None:
    for weights in intact_versions(name):
        source = weights.manifest.source_file
        if sha256 in (weights.sha256, source.sha256 if source is not None else None):
            return weights
    return None
