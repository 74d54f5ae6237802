"""From working planes to class probabilities, for networks that see a slab and its neighbours as channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from covid_bert.errors import ParameterError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

FloatArray = npt.NDArray[np.float32]


def scale(planes: FloatArray, window_hu: tuple[float, float]) -> FloatArray:
    """Scale HU to the networks' input.

    Parameters
    ----------
    planes
        In HU, of any shape.
    window_hu
        HU that become -1 and 1; values beyond are clipped.

    Returns
    -------
    float32 array
        Of the same shape, in [-1, 1].

    Raises
    ------
    ParameterError
        If the window is empty.
    """
    lower, upper = window_hu
    if not lower < upper:
        raise ParameterError("The window in HU is empty.", "Give a lower limit that is below the upper limit.")
    scaled = (planes.astype(np.float32) - np.float32(lower)) * np.float32(2.0 / (upper - lower)) - np.float32(1.0)
    return np.clip(scaled, -1.0, 1.0, out=scaled)


def input_channels(
    planes: FloatArray, context: int, indices: npt.NDArray[np.integer], *, extra: FloatArray | None = None
) -> Tensor:
    """Stack slabs and their neighbours as channels, in training and in use.

    Parameters
    ----------
    planes
        Scaled, (slabs, rows, columns).
    context
        Neighbours on each side; the first and the last slab are repeated where there are none.
    indices
        (n,) slabs in the middle.
    extra
        (slabs, rows, columns): one more channel, of the middle slab only, for instance the lungs.

    Returns
    -------
    Tensor
        float32 (n, 2 * context + 1, rows, columns), foot to head, with `extra` as one more channel at the end.

    Raises
    ------
    ParameterError
        If `context` is negative or `extra` is of another shape than `planes`.
    """
    import torch

    if context < 0 or (extra is not None and extra.shape != planes.shape):
        raise ParameterError(
            "The network's input cannot be put together.", "Give 0 or more neighbours and planes of one shape."
        )
    neighbours = np.asarray(indices)[:, np.newaxis] + np.arange(-context, context + 1)
    channels = planes[np.clip(neighbours, 0, len(planes) - 1)]
    if extra is not None:
        channels = np.concatenate([channels, extra[np.asarray(indices), np.newaxis]], axis=1)
    return torch.from_numpy(np.ascontiguousarray(channels, np.float32))


def predict(
    module: nn.Module,
    planes: FloatArray,
    *,
    context: int = 0,
    extra: FloatArray | None = None,
    batch: int = 16,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> FloatArray:
    """Class probabilities of all slabs.

    Parameters
    ----------
    module
        In eval mode on `device` and in `dtype`: (n, channels, rows, columns) to logits (n, classes, rows, columns).
    planes, context, extra
        See `input_channels`.
    batch
        Slabs at a time.
    device
        Where the module is.
    dtype
        Type of the module's input; float32 when None. The softmax is taken in float32.
    on_progress
        Called with the finished fraction before each batch and at the end; may raise to cancel.

    Returns
    -------
    float32 array
        (classes, slabs, rows, columns), in [0, 1], sums to one over the classes.

    Raises
    ------
    ParameterError
        If there are no planes, or `batch` or `context` is out of range.
    """
    import torch

    count = len(planes)
    if count == 0 or batch < 1:
        raise ParameterError("There is nothing to predict.", "Give at least one plane and a batch of at least one.")
    probabilities: FloatArray | None = None
    for start in range(0, count, batch):
        if on_progress is not None:
            on_progress(start / count)
        indices = np.arange(start, min(start + batch, count))
        inputs = input_channels(planes, context, indices, extra=extra)
        with torch.inference_mode():
            # Twice as fast on a CPU; a module in channels-last memory format gains the most.
            inputs = inputs.to(device=device, dtype=dtype or torch.float32, memory_format=torch.channels_last)
            logits = module(inputs)
            found = logits.float().softmax(dim=1).transpose(0, 1).cpu().numpy()
        if probabilities is None:
            probabilities = np.empty((found.shape[0], *planes.shape), np.float32)
        probabilities[:, indices] = found
    if on_progress is not None:
        on_progress(1.0)
    assert probabilities is not None
    return probabilities
