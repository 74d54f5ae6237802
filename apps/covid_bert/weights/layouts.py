"""Which tensors a network has: names and shapes, without building its values.

Besides the project's own networks this knows lungmask's R231, whose module lives in the optional package ``lungmask``.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping

import torch

from covid_bert.networks.architectures import ARCHITECTURES

LUNGMASK_R231 = "lungmask-r231"

Shapes = dict[str, tuple[int, ...]]

_SHOWN = 4


@functools.cache
def expected_shapes(architecture: str) -> Mapping[str, tuple[int, ...]] | None:
    """Shapes of all tensors of an architecture by name; None if the architecture is not known."""
    if architecture == LUNGMASK_R231:
        return _lungmask_shapes()
    if architecture not in ARCHITECTURES:
        return None
    with torch.device("meta"):
        module = ARCHITECTURES[architecture]()
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


def mismatches(found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Sentences on the first tensors that are missing, unexpected or of another shape; empty if all agree."""
    missing = (f"{key} is missing" for key in expected if key not in found)
    unexpected = (f"{key} is not expected" for key in found if key not in expected)
    other_shape = (
        f"{key} has shape {list(found[key])} instead of {list(expected[key])}"
        for key in expected
        if key in found and tuple(found[key]) != tuple(expected[key])
    )
    return list(itertools.islice(itertools.chain(missing, unexpected, other_shape), _SHOWN))


def is_lungmask_r231(found: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a state dict is of lungmask's U-Net for right and left lung (not one for lobes)."""
    return "down_path.0.block.0.weight" in found and "last.weight" in found


def _lungmask_shapes() -> Shapes:
    """Shapes of the R231 checkpoint: five levels of 64 to 1024 channels, batch norm, three classes.

    Each block also carries a residual convolution and its norm, which R231 does not use but its checkpoint holds.
    """
    channels = [64, 128, 256, 512, 1024]
    shapes: Shapes = {}
    before = 1
    for level, after in enumerate(channels):
        shapes |= _lungmask_block(f"down_path.{level}.", before, after)
        before = after
    for level, after in enumerate(reversed(channels[:-1])):
        prefix = f"up_path.{level}."
        shapes |= _residual(prefix, before, after)
        shapes |= _convolution(f"{prefix}up.1.", before, after, 1)
        # The upsampled features and the skip are concatenated, so that the block again has `before` channels to read.
        shapes |= _lungmask_block(f"{prefix}conv_block.", before, after)
        before = after
    return shapes | _convolution("last.", before, 3, 1)


def _lungmask_block(prefix: str, before: int, after: int) -> Shapes:
    return (
        _residual(prefix, before, after)
        | _convolution(f"{prefix}block.0.", before, after, 3)
        | _norm(f"{prefix}block.2.", after)
        | _convolution(f"{prefix}block.3.", after, after, 3)
        | _norm(f"{prefix}block.5.", after)
    )


def _residual(prefix: str, before: int, after: int) -> Shapes:
    return _convolution(f"{prefix}residual_input_conv.", before, after, 1) | _norm(
        f"{prefix}residual_batchnorm.", after
    )


def _convolution(prefix: str, before: int, after: int, kernel: int) -> Shapes:
    return {f"{prefix}weight": (after, before, kernel, kernel), f"{prefix}bias": (after,)}


def _norm(prefix: str, channels: int) -> Shapes:
    vectors: Shapes = {f"{prefix}{name}": (channels,) for name in ("weight", "bias", "running_mean", "running_var")}
    return vectors | {f"{prefix}num_batches_tracked": ()}
