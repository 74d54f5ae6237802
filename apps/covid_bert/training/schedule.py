"""How long and how fast a network learns."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn.

    Parameters
    ----------
    steps
        Mini-batches.
    batch
        Samples of each.
    learning_rate
        Highest; it rises over the first twentieth and falls to zero along a cosine.
    weight_decay
        Of AdamW.
    """

    steps: int
    batch: int
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4

    def rate(self, step: int) -> float:
        """Learning rate of a step relative to the highest."""
        return relative_rate(step, self.steps)


def relative_rate(step: int, steps: int) -> float:
    """Learning rate of a step of `steps`, relative to the highest: up over the first twentieth, then along a cosine."""
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
