"""Memory that runs out: one typed error, and the processor in place of a graphics card that is too small."""

from __future__ import annotations

import dataclasses
import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from covid_bert.errors import CardMemoryError, OutOfMemoryError
from covid_bert.volumes import Volume

logger = logging.getLogger(__name__)
Computed = TypeVar("Computed")

CARD_TOO_SMALL = "The graphics card had too little free memory for this study; it was computed on the processor."
_PROCESSOR = "cpu"


def on_card_or_processor(volume: Volume, device: str, compute: Callable[[Volume, str], Computed]) -> Computed:
    """Compute something of a study, on the processor if the memory of the graphics card does not suffice.

    Parameters
    ----------
    volume
        The study. On the processor it gets the warning `CARD_TOO_SMALL`, which all results hand on.
    device
        As for `covid_bert.systems.create`.
    compute
        Called as ``compute(volume, device)``, a second time with the processor if needed.

    Raises
    ------
    OutOfMemoryError
        If the machine's memory is too small.
    """
    try:
        with memory_errors_explained():
            return compute(volume, device)
    except CardMemoryError:
        if device == _PROCESSOR:
            raise
        logger.warning("The graphics card had too little free memory; going on with the processor")
    # Not above: the error holds what the first attempt had put on the card.
    gc.collect()
    torch.cuda.empty_cache()
    with memory_errors_explained():
        return compute(dataclasses.replace(volume, warnings=(*volume.warnings, CARD_TOO_SMALL)), _PROCESSOR)


@contextmanager
def memory_errors_explained() -> Iterator[None]:
    """Turn every sign of exhausted memory in the enclosed block into `OutOfMemoryError`, or its kind for cards."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise CardMemoryError(
            "The study needs more memory than the graphics card has free.",
            "End other programs that use the card, or choose the processor (device cpu).",
        ) from error
    except MemoryError as error:
        raise _typed() from error
    except RuntimeError as error:
        # The allocator of the processor has no exception of its own.
        if "DefaultCPUAllocator" not in str(error) and "can't allocate memory" not in str(error):
            raise
        raise _typed() from error


def _typed() -> OutOfMemoryError:
    return OutOfMemoryError(
        "The study needs more memory than this machine has free.", "Close other programs, or use a larger machine."
    )
