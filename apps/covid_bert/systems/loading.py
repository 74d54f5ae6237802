"""Networks of a system, with the live weights or, marked as such, untrained; kept in memory between studies."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import torch
from torch import nn

from covid_bert.networks.architectures import ARCHITECTURES
from covid_bert.networks.classifiers import ClipNetwork
from covid_bert.networks.devices import fast_dtype
from covid_bert.networks.fusion import fuse_batch_norms
from covid_bert.systems.configuration import Part, Precision
from covid_bert.weights.identity import WeightsIdentity
from covid_bert.weights.manifest import Manifest
from covid_bert.weights.store import live, load_into
from covid_bert.weights.untrained import untrained
from covid_bert.weights.version_folder import InstalledWeights

UNTRAINED_SEED = 0


@dataclass(frozen=True)
class LoadedNetwork:
    """A network ready for inference.

    Parameters
    ----------
    module
        In eval mode on `device`, batch norms folded; the trunk in `trunk_dtype`, with channels last if bfloat16.
    identity
        Of its weights.
    manifest
        Of its weights; None for an untrained network.
    device, trunk_dtype
        Where and how the trunk computes.
    """

    module: nn.Module
    identity: WeightsIdentity
    manifest: Manifest | None
    device: torch.device
    trunk_dtype: torch.dtype


# By part, device and precision: the SHA-256 of the weights (a version name may be used again) and their network.
_cache: dict[tuple[Part, torch.device, torch.dtype], tuple[str | None, LoadedNetwork]] = {}
_lock = threading.Lock()


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """Return what the trunk computes in; ``auto`` is bfloat16 where the processor has instructions for it."""
    if precision == "float32":
        return torch.float32
    return torch.bfloat16 if precision == "bfloat16" else fast_dtype(device)


def load_network(part: Part, device: torch.device, dtype: torch.dtype) -> LoadedNetwork:
    """Return the network of a part with its live weights, or untrained if none are installed.

    Parameters
    ----------
    part
        Names of weights and architecture.
    device, dtype
        Where it runs, and the trunk's precision.

    Raises
    ------
    WeightsError
        If the live weights are damaged, or of another architecture.
    """
    with _lock:
        # Asked once: the pointer may move at any moment, and key, manifest and tensors must be of one version.
        installed = live(part.weights)
        content = installed.sha256 if installed is not None else None
        place = (part, device, dtype)
        kept = _cache.get(place)
        if kept is None or kept[0] != content:
            # The version before is replaced, so that a server does not gather versions in memory.
            kept = _cache[place] = (content, _load(part, installed, device, dtype))
        return kept[1]


def forget_networks() -> None:
    """Drop all networks from memory."""
    with _lock:
        _cache.clear()


def _load(part: Part, installed: InstalledWeights | None, device: torch.device, dtype: torch.dtype) -> LoadedNetwork:
    if installed is None:
        module, identity = untrained(part.architecture, UNTRAINED_SEED)
        manifest = None
    else:
        manifest = installed.manifest
        with torch.device("meta"):
            module = ARCHITECTURES[part.architecture]()
        module = module.to_empty(device="cpu").eval()
        identity = load_into(module, installed, architecture=part.architecture)
    module = module.to(device).requires_grad_(False)
    if isinstance(module, ClipNetwork):
        fuse_batch_norms(module.trunk)
        if dtype is torch.bfloat16:
            module.trunk.to(dtype=dtype, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return LoadedNetwork(module, identity, manifest, device, dtype)
