"""Weights and inputs of the reference outputs, made from the names of the tensors."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).resolve().parent.parent / "data"
OUTPUTS = DATA / "reference_network.npz"


def published_state(network: str) -> dict[str, torch.Tensor]:
    """State dict of ``clip_network`` or ``study_network`` in the authors' layout."""
    shapes = json.loads((DATA / "reference_network_keys.json").read_text())[network]
    return {key: torch.from_numpy(np.asarray(_tensor(key, tuple(shape)))) for key, shape in shapes.items()}


def network_input(shape: tuple[int, ...]) -> torch.Tensor:
    """Input of the reference outputs."""
    return torch.from_numpy(_noise("input", shape))


def _noise(key: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape).astype(np.float32)


def _tensor(key: str, shape: tuple[int, ...]) -> np.ndarray:
    noise = _noise(key, shape)
    if "num_batches_tracked" in key:
        return np.zeros(shape, np.int64)
    if key.endswith("running_var"):
        return 1 + 0.1 * np.abs(noise)
    if key.endswith("running_mean"):
        return 0.1 * noise
    if noise.ndim == 1 and key.endswith(("weight", "a_2")):
        return 1 + 0.1 * noise
    if noise.ndim == 1 or key.endswith(("pe", "clsToken")):
        return 0.02 * noise
    fan_in = float(np.prod(shape[1:]))
    return noise * np.float32(np.sqrt((2 if noise.ndim == 5 else 1) / fan_in))
