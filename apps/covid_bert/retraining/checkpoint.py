"""The checkpoint of a run: written wholly or not at all, and never read half."""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import torch

from covid_bert.errors import OutputError
from covid_bert.files import remove_abandoned, write_private

SCHEMA = 1
SUFFIX = ".checkpoint"
_DIGEST = 64  # hexadecimal digits of SHA-256, before the content


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replace a checkpoint; what was there stays until the new one is whole and on the disk.

    Parameters
    ----------
    path
        Ends with `SUFFIX`.
    state
        Tensors, numbers, texts, lists and dictionaries of these.

    Raises
    ------
    OutputError
        If it cannot be written, for instance because the disk is full.
    """
    content = io.BytesIO()
    torch.save({"schema": SCHEMA, **state}, content)
    data = content.getvalue()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Of processes that were killed while they wrote: one run has one writer.
        remove_abandoned(path.parent, SUFFIX)
        write_private(path, hashlib.sha256(data).hexdigest().encode() + data)
    except OSError as error:
        raise OutputError(
            f"The state of the training cannot be kept: {error.strerror or type(error).__name__}.",
            "Free some space, or set COVID_BERT_HOME to a folder on a larger disk, and start the training again: it "
            "goes on where it was.",
        ) from error


def read_checkpoint(path: Path, identity: str) -> tuple[dict[str, Any] | None, str]:
    """Read a checkpoint.

    Parameters
    ----------
    path
        Where it may lie.
    identity
        That `write_checkpoint` was given as ``state["identity"]``.

    Returns
    -------
    tuple
        Its state, or None if there is none that can be used; and then why, as a sentence, if there was one at all.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None, ""
    except OSError:
        return None, "The state of the training could not be read, so it began anew."
    digest, data = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(data).hexdigest().encode() != digest:
        return None, "The state of the training was damaged, so it began anew."
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError):
        return None, "The state of the training was damaged, so it began anew."
    if state.get("schema") != SCHEMA or state.get("identity") != identity:
        return None, "The state of the training was of other data or parameters, so it began anew."
    return state, ""
