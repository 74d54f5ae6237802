"""Writing a new version into the store, wholly or not at all.

A version is written into a hidden folder first and comes into being by one rename.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from covid_bert import __version__
from covid_bert.errors import ParameterError, UnwrittenWeightsError, WeightsError
from covid_bert.files import sync, write_atomically
from covid_bert.weights.files import explained, sha256_of
from covid_bert.weights.history import history
from covid_bert.weights.location import check_name, weights_root
from covid_bert.weights.manifest import FILE_PATTERN, Manifest, Provenance
from covid_bert.weights.pointer import pointed_version
from covid_bert.weights.registry import Role
from covid_bert.weights.store import installed, intact_versions, list_versions, version_number
from covid_bert.weights.version_folder import MANIFEST_FILE, MODEL_FILE, InstalledWeights

STAGING_PREFIX = ".incoming-"
# Nobody writes one version for longer.
_ABANDONED_SECONDS = 3600.0

_OCCUPIED = {errno.EEXIST, errno.ENOTEMPTY, errno.EACCES}  # The last one is what Windows says.
_FIRST = "v001"


def add_version(
    name: str,
    tensors: Mapping[str, Tensor],
    provenance: Provenance,
    files: Mapping[str, bytes | str] = MappingProxyType({}),
) -> InstalledWeights:
    """Install a state dict as a new version; it goes live by `publish`.

    Parameters
    ----------
    name
        See `covid_bert.weights.location.check_name`.
    tensors
        State dict of `provenance.architecture`.
    provenance
        What its maker knows of it. What came with the program and it was fitted with is copied beside it.
    files
        What else belongs to the version, by name: bytes, or text, which is written as UTF-8.

    Raises
    ------
    ParameterError
        If a name is not allowed.
    UnwrittenWeightsError
        If it cannot be written; nothing is then left behind.
    """
    folder = weights_root() / check_name(name)
    contents = {_check_file(key): _bytes(value) for key, value in files.items()}
    with explained("install the weights"), _staging(folder) as staging:
        model = staging / MODEL_FILE
        _save(tensors, model, provenance.architecture)
        sync(model)
        sha256 = sha256_of(model)
        for key, content in contents.items():
            write_atomically(staging / key, content)
        _keep_shipped(provenance.fitted_with)
        facts = Manifest(
            **dict(provenance),
            name=name,
            version=_FIRST,
            sha256=sha256,
            bytes=model.stat().st_size,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            code_version=__version__,
            files={key: hashlib.sha256(content).hexdigest() for key, content in contents.items()},
        )
        return _given_a_number(staging, facts)


def _given_a_number(staging: Path, manifest: Manifest) -> InstalledWeights:
    """Let a folder that has all but its manifest become the next version of its name."""
    name, folder = manifest.name, staging.parent
    number = 1 + max(map(version_number, _taken(name)), default=0)
    while True:
        version = f"v{number:03d}"
        named = manifest.model_copy(update={"version": version})
        write_atomically(staging / MANIFEST_FILE, named.model_dump_json(indent=2) + "\n")
        try:
            staging.rename(folder / version)
        except OSError as error:
            if error.errno not in _OCCUPIED or not (folder / version).exists():
                raise
            number += 1  # Another process took this number a moment ago.
        else:
            sync(folder)
            return installed(name, version)


def _keep_shipped(fitted_with: Mapping[str, str]) -> None:
    """Copy what new weights need of those that came with the program: an update of it takes these away."""
    for name, sha256 in fitted_with.items():
        present = [weights for weights in intact_versions(name) if weights.sha256 == sha256]
        # Lungs and lesions are the live ones, whichever they are.
        if not present or not all(weights.shipped for weights in present):
            continue
        if present[0].manifest.role in (Role.LUNGS, Role.LESIONS):
            continue
        with _staging(weights_root() / name) as staging:
            shutil.copytree(present[0].path.parent, staging, dirs_exist_ok=True)
            sync(staging / MODEL_FILE)
            _given_a_number(staging, present[0].manifest)


def _taken(name: str) -> set[str]:
    """Versions that are there or were live: what the history names stays what it was, also when it was removed."""
    taken = {*list_versions(name), *(line.version for line in history(name) if line.version is not None)}
    with contextlib.suppress(WeightsError):
        pointed = pointed_version(name)
        taken |= set() if pointed is None else {pointed}
    return taken


def _check_file(name: str) -> str:
    if re.fullmatch(FILE_PATTERN, name) is None or name in {MODEL_FILE, MANIFEST_FILE}:
        raise ParameterError(
            "That is not a name for a file of a version.", "Use lower-case letters, digits, '.', '_' and '-'."
        )
    return name


def _bytes(content: bytes | str) -> bytes:
    return content.encode("utf-8") if isinstance(content, str) else content


def _save(tensors: Mapping[str, Tensor], model: Path, architecture: str) -> None:
    # Clones, because safetensors refuses tensors that share memory, as those of a checkpoint may.
    copies = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in tensors.items()}
    try:
        save_file(copies, model, metadata={"architecture": architecture})
    except SafetensorError as error:
        raise UnwrittenWeightsError(
            f"Could not install the weights: {error}.",
            "Free some space, or set COVID_BERT_HOME to a folder on a larger disk.",
        ) from error


@contextlib.contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """A hidden folder beside the versions, gone at the end unless it was renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=folder))
    try:
        staging.chmod(0o755)
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        # A name under which nothing was ever installed leaves no empty folder.
        with contextlib.suppress(OSError):
            folder.rmdir()


def _remove_abandoned(folder: Path) -> None:
    """Remove what killed processes left half written."""
    for left in folder.glob(f"{STAGING_PREFIX}*"):
        with contextlib.suppress(OSError):
            if left.stat().st_mtime <= time.time() - _ABANDONED_SECONDS:
                shutil.rmtree(left)
