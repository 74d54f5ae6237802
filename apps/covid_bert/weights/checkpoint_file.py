"""Reading a checkpoint from outside, without running any code that it may carry.

A ``.pth`` file is a pickle, and a pickle is a program. Only ``torch.load(weights_only=True)`` is used, which knows
tensors, containers and numbers and refuses everything else. The format is told by the content, not by the file's name.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from covid_bert.errors import NotFoundError, WeightsError

MAXIMUM_BYTES = 4 << 30

_NESTING = ("state_dict", "model_state_dict", "model", "net")
_PARALLEL_PREFIX = "module."
_DAMAGED_HINT = "It may be incomplete: get it again and compare its size."

# Training loops keep their best accuracy beside the weights, often as a NumPy number.
_scalar = np.float64(0).__reduce__()[0]
_NUMBERS: list[Any] = [
    (_scalar, "numpy.core.multiarray.scalar"),
    (_scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32)),
]


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file, and the architecture if the file names it (safetensors written here do)."""

    tensors: dict[str, Tensor]
    architecture: str | None = None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the state dict of a PyTorch checkpoint or a safetensors file, on the CPU.

    ``state_dict``, ``model`` and ``net`` nesting and ``module.`` prefixes are taken off.

    Raises
    ------
    NotFoundError
        If there is no such file.
    WeightsError
        If it is damaged, not a checkpoint, or carries anything else than data.
    """
    if not path.is_file():
        raise NotFoundError(f"There is no file {path.name}.", "Check the path.")
    size = path.stat().st_size
    if size == 0 or size > MAXIMUM_BYTES:
        raise WeightsError(f"{path.name} has {size} bytes: it is not a checkpoint.", _DAMAGED_HINT)
    try:
        with path.open("rb") as handle:
            head = handle.read(512)
    except OSError as error:
        raise WeightsError(f"{path.name} cannot be read: {error.strerror}.", "Check the file's permissions.") from error
    _refuse_text(head, path.name)
    if _is_safetensors(head, size):
        return _read_safetensors(path)
    tensors = _state_dict(_read_pickle(path), path.name)
    return Checkpoint(_without_prefix(tensors))


def _refuse_text(head: bytes, name: str) -> None:
    start = head.lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise WeightsError(
            f"{name} is a web page, not weights.",
            "A login page or an error page was saved instead: download the file itself.",
        )
    if start.startswith(b"version https://git-lfs"):
        raise WeightsError(f"{name} is only a Git LFS pointer.", "Run `git lfs pull` where it comes from.")


def _is_safetensors(head: bytes, size: int) -> bool:
    return len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safe_open(path, framework="pt") as file:
            architecture = (file.metadata() or {}).get("architecture")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise WeightsError(f"{path.name} is a damaged safetensors file.", _DAMAGED_HINT) from error
    return Checkpoint(_without_prefix(tensors), architecture)


def _read_pickle(path: Path) -> object:
    try:
        # Files of PyTorch before 1.6 are no zip archives; only archives can be mapped into memory.
        mapped = zipfile.is_zipfile(path)
        with torch.serialization.safe_globals(_NUMBERS):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        foreign = re.search(r"(?:GLOBAL|Unsupported (?:global|class|operand)\S*)\s+(\S+)", str(error))
        if foreign is None:
            raise WeightsError(f"{path.name} is damaged, or not a checkpoint.", _DAMAGED_HINT) from error
        raise WeightsError(
            f"{path.name} was refused: besides tensors it carries Python objects ({foreign.group(1)}), "
            "and reading those could run any program.",
            "Use it only from a source that you trust, saved again as a plain state dict or as safetensors.",
            refused=foreign.group(1),
        ) from None
    # A damaged archive or pickle can fail anywhere in the reader, with nearly any exception.
    except Exception as error:
        raise WeightsError(f"{path.name} is damaged, or not a checkpoint.", _DAMAGED_HINT) from error


def _state_dict(content: object, name: str) -> dict[str, Tensor]:
    for _ in range(len(_NESTING)):
        if not isinstance(content, Mapping):
            break
        if content and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()):
            return dict(content)
        inner = next((content[key] for key in _NESTING if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    raise WeightsError(
        f"{name} holds no state dict.",
        f"A checkpoint is a dictionary of tensors, plain or under {', '.join(_NESTING)}.",
    )


def _without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    while tensors and all(key.startswith(_PARALLEL_PREFIX) for key in tensors):
        tensors = {key.removeprefix(_PARALLEL_PREFIX): value for key, value in tensors.items()}
    return tensors
