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
from covid_bert.systems.configuration import Part, Precision, SystemConfiguration
from covid_bert.weights.companions import Resolved, resolve
from covid_bert.weights.identity import WeightsIdentity
from covid_bert.weights.manifest import Manifest
from covid_bert.weights.store import load_into
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


@dataclass(frozen=True)
class LoadedNetworks:
    """All networks of a system, of one moment.

    Parameters
    ----------
    by_role
        As in `SystemConfiguration.parts`.
    warnings
        Sentences for the result, where something damaged was replaced.
    """

    by_role: dict[str, LoadedNetwork]
    warnings: tuple[str, ...] = ()


# A network by part, device, precision and manifest: a version name may be used again, and equal files may have
# manifests of their own. Two systems that use the same version share it.
_Place = tuple[Part, torch.device, torch.dtype, str | None]
_Owner = tuple[tuple[tuple[str, Part], ...], torch.device, torch.dtype]
_cache: dict[_Place, LoadedNetwork] = {}
_used: dict[_Owner, set[_Place]] = {}
_lock = threading.Lock()


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """Return what the trunk computes in; ``auto`` is bfloat16 where the processor has instructions for it."""
    if precision == "float32":
        return torch.float32
    return torch.bfloat16 if precision == "bfloat16" else fast_dtype(device)


def weights_of(configuration: SystemConfiguration) -> Resolved:
    """Return the weights that a configuration uses now; errors as `covid_bert.weights.companions.resolve`."""
    return resolve({role: part.weights for role, part in configuration.parts.items()}, configuration.head)


def load_networks(configuration: SystemConfiguration, device: torch.device, dtype: torch.dtype) -> LoadedNetworks:
    """Return the networks of a configuration with what is live now, or untrained where nothing is installed.

    Parameters
    ----------
    configuration
        Names the parts, and the one whose live version decides.
    device, dtype
        Where they run, and the trunk's precision.

    Raises
    ------
    WeightsError
        If weights are damaged and nothing that was live before can take their place, or they are of another
        architecture.
    """
    parts = configuration.parts
    with _lock:
        # Asked once: pointers may move at any moment, and all networks of a request must belong together.
        found = weights_of(configuration)
        networks: dict[str, LoadedNetwork] = {}
        places: set[_Place] = set()
        for role, part in parts.items():
            weights = found.weights[role]
            place = (part, device, dtype, weights.manifest.model_dump_json() if weights is not None else None)
            if place not in _cache:
                _cache[place] = _load(part, weights, device, dtype)
            networks[role] = _cache[place]
            places.add(place)
        _used[tuple(parts.items()), device, dtype] = places
        # What no system uses any more goes, so that a server does not gather versions in memory.
        for place in _cache.keys() - set[_Place]().union(*_used.values()):
            del _cache[place]
    return LoadedNetworks(networks, found.warnings)


def forget_networks() -> None:
    """Drop all networks from memory."""
    with _lock:
        _cache.clear()
        _used.clear()


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
