"""Several processes, as `torchrun` starts them, that train as one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

from covid_bert.networks.devices import choose_device

Value = TypeVar("Value")
# The first process reads and judges studies while the others wait for it.
_LONGEST_WAIT = timedelta(hours=12)


@contextmanager
def processes(device: str) -> Iterator[None]:
    """Join the processes that `torchrun` started, if it did, until the block ends.

    Parameters
    ----------
    device
        ``auto``, ``cpu`` or ``cuda``: over NCCL where they compute on graphics cards, else over gloo.

    Raises
    ------
    ParameterError
        If there is no such device.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1 or distributed.is_initialized():
        yield
        return
    place = device_of_process(device)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    distributed.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=_LONGEST_WAIT)
    try:
        yield
        # Who ends first would close connections that another one still reads from.
        distributed.barrier()
    finally:
        distributed.destroy_process_group()


def rank() -> int:
    """Number of this process among those that train together; 0 where it is alone."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def device_of_process(name: str) -> torch.device:
    """Where this process computes: each has a graphics card of its own.

    Raises
    ------
    ParameterError
        If there is no such device.
    """
    device = choose_device(name)
    if device.type == "cuda" and "LOCAL_RANK" in os.environ:
        return choose_device(f"cuda:{os.environ['LOCAL_RANK']}")
    return device


def from_first(make: Callable[[], Value]) -> Value:
    """Let the first process make something, and return it in all of them."""
    if world() == 1:
        return make()
    box = [make() if rank() == 0 else None]
    distributed.broadcast_object_list(box, src=0)
    return box[0]  # type: ignore[return-value]


def average_gradients(parameters: Sequence[nn.Parameter], loss: Tensor, asked: bool) -> tuple[float, bool]:
    """Replace the gradients by their means over all processes.

    Parameters
    ----------
    parameters
        The same ones in the same order in every process.
    loss
        Of this process.
    asked
        Whether this process was asked to stop.

    Returns
    -------
    tuple
        Mean loss, and whether any process was asked to stop: the same in all, so that none waits for another for ever.
    """
    if world() == 1:
        return float(loss), asked
    # One message for all of it.
    parts = [torch.zeros_like(item) if item.grad is None else item.grad for item in parameters]
    facts = torch.stack([loss.detach().float(), loss.new_tensor(float(asked), dtype=torch.float32)])
    flat = torch.cat([*(part.reshape(-1).float() for part in parts), facts])
    distributed.all_reduce(flat)
    flat /= world()
    start = 0
    for item, part in zip(parameters, parts, strict=True):
        item.grad = flat[start : start + part.numel()].view(part.shape).to(part.dtype).contiguous()
        start += part.numel()
    return float(flat[-2]), bool(flat[-1] > 0)
