"""A segmenter with its weights, ready for inference; kept in memory between studies."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from covid_bert.errors import WeightsError
from covid_bert.weights.identity import WeightsIdentity
from covid_bert.weights.store import load_into
from covid_bert.weights.version_folder import InstalledWeights

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class LoadedSegmenter:
    """A network of working planes. Made by `load_segmenter`.

    Parameters
    ----------
    module
        In eval mode on `device`, in `dtype`, batch norms folded, channels last.
    identity
        Of its weights.
    window_hu
        HU that become -1 and 1 in its input.
    device
        Where it is.
    dtype
        Type of its parameters and input; None for float32. Loaded ones have bfloat16 where the processor computes
        in it.
    warnings
        Sentences for the result: that other weights were used than the live ones.
    """

    module: nn.Module
    identity: WeightsIdentity
    window_hu: tuple[float, float]
    device: torch.device
    dtype: torch.dtype | None = None
    warnings: tuple[str, ...] = ()


# By name, architecture and device: the weights and their network.
_cache: dict[tuple[str, str, torch.device], tuple[InstalledWeights, LoadedSegmenter]] = {}
_lock = threading.Lock()


def load_segmenter(weights: InstalledWeights, architecture: str, device: str = "auto") -> LoadedSegmenter:
    """Build the network of some weights.

    Parameters
    ----------
    weights
        For instance the live ones.
    architecture
        The `SliceSegmenter` that they must be of: a key of `covid_bert.networks.architectures.ARCHITECTURES`.
    device
        See `covid_bert.networks.devices.choose_device`.

    Raises
    ------
    ParameterError
        If there is no such device.
    WeightsError
        If the weights are damaged, of another network, or do not say which window they were trained with.
    """
    from covid_bert.networks.devices import choose_device

    place = (weights.name, architecture, choose_device(device))
    with _lock:
        kept = _cache.get(place)
        if kept is None or kept[0] != weights.verified():
            # The version before is replaced, so that a server does not gather versions in memory.
            kept = _cache[place] = (weights, _load(weights, architecture, place[2]))
        return kept[1]


def window_of(weights: InstalledWeights) -> tuple[float, float]:
    """Return the HU that become -1 and 1 in the input of a segmenter.

    Raises
    ------
    WeightsError
        If its manifest does not say.
    """
    contract = weights.manifest.input
    if contract is None or contract.window_hu is None:
        raise WeightsError(
            f"{weights.name} {weights.version} does not say for which window in HU it was trained.",
            "Install weights whose manifest has input.window_hu.",
        )
    return contract.window_hu


def _load(weights: InstalledWeights, architecture: str, device: torch.device) -> LoadedSegmenter:
    import torch

    from covid_bert.networks.architectures import ARCHITECTURES

    window = window_of(weights)
    with torch.device("meta"):
        module = ARCHITECTURES[architecture]()
    module = module.to_empty(device="cpu").eval()
    identity = load_into(module, weights, architecture=architecture)
    return ready_segmenter(module, identity, window, device)


def ready_segmenter(
    module: nn.Module, identity: WeightsIdentity, window_hu: tuple[float, float], device: torch.device
) -> LoadedSegmenter:
    """Make a network ready for inference, as it is in use.

    Parameters
    ----------
    module
        In eval mode, in float32, on the CPU; must not be used afterwards.
    identity, window_hu
        See `LoadedSegmenter`.
    device
        Where it is to be.
    """
    import torch

    from covid_bert.networks.devices import fast_dtype
    from covid_bert.networks.fusion import fuse_batch_norms

    module = fuse_batch_norms(module.requires_grad_(False))  # type: ignore[type-var]
    dtype = fast_dtype(device)
    module = module.to(device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return LoadedSegmenter(module, identity, window_hu, device, dtype)
