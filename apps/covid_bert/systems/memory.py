"""Memory that runs out, on the processor or a graphics card, as one typed error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from covid_bert.errors import OutOfMemoryError


@contextmanager
def memory_errors_explained() -> Iterator[None]:
    """Turn every sign of exhausted memory in the enclosed block into `OutOfMemoryError`."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise _typed() from error
    except RuntimeError as error:
        # The allocator of the processor has no exception of its own.
        if "DefaultCPUAllocator" not in str(error) and "can't allocate memory" not in str(error):
            raise
        raise _typed() from error


def _typed() -> OutOfMemoryError:
    return OutOfMemoryError(
        "The study needs more memory than this machine has free.",
        "Close other programs, or use --device cpu if this was a graphics card.",
    )
