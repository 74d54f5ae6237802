"""`WeightsIdentity`: which weights a result came from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from covid_bert import DEMONSTRATION_MODEL
from covid_bert.weights.manifest import Manifest

if TYPE_CHECKING:
    from torch import Tensor


class WeightsIdentity(BaseModel):
    """What a result says of the weights behind it.

    Parameters
    ----------
    name, version
        Under which they are installed.
    sha256
        Of ``model.safetensors``; of the state dict (`state_sha256`) for an untrained network.
    trained
        False for random initialisation: such a result means nothing clinically.
    demonstration
        True for weights trained on generated data.
    trained_on, licence, source
        Sentences for people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    sha256: str
    trained: bool
    demonstration: bool
    trained_on: str
    licence: str
    source: str

    @classmethod
    def of_manifest(cls, manifest: Manifest) -> WeightsIdentity:
        """Identity of installed weights."""
        return cls(
            name=manifest.name,
            version=manifest.version,
            sha256=manifest.sha256,
            trained=True,
            demonstration=manifest.demonstration,
            trained_on=manifest.trained_on,
            licence=manifest.licence,
            source=manifest.source,
        )

    @classmethod
    def of_untrained(cls, architecture: str, seed: int, state_dict: Mapping[str, Tensor]) -> WeightsIdentity:
        """Identity of a randomly initialised network, see `covid_bert.weights.untrained`."""
        return cls(
            name=f"untrained-{architecture}",
            version=f"seed-{seed}",
            sha256=state_sha256(state_dict),
            trained=False,
            demonstration=False,
            trained_on="nothing: random initialisation",
            licence="none",
            source="generated on this computer",
        )


def demonstration_warnings(identities: Iterable[WeightsIdentity | None]) -> list[str]:
    """Say once what must stand wherever an output of demonstration weights is shown.

    Parameters
    ----------
    identities
        Of all weights that took part; None for a method without any.

    Returns
    -------
    list of str
        One sentence, or none.
    """
    return [DEMONSTRATION_MODEL] if any(item is not None and item.demonstration for item in identities) else []


def state_sha256(state_dict: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values of a state dict, whatever its order.

    Parameters
    ----------
    state_dict
        Tensors by name, on any device.
    """
    import torch

    digest = hashlib.sha256()
    for key in sorted(state_dict):
        tensor = state_dict[key].detach().cpu().contiguous()
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def sha256_by_name(identities: Iterable[WeightsIdentity]) -> dict[str, str]:
    """SHA-256 of the weights that take part in a result, by name."""
    return {identity.name: identity.sha256 for identity in identities}
