"""What the training loop is given, and what it tells and hands over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from covid_bert.retraining.records import CurvePoint


class Learner(Protocol):
    """What is trained, on what, and how it is judged."""

    @property
    def module(self) -> nn.Module:
        """All that is trained, at the weights that the run begins with; `fit` moves it to the device."""

    def groups(self) -> list[dict[str, Any]]:
        """Groups of parameters: ``params``, and ``rate``, a factor on the learning rate (1 if left out)."""

    def batches(self, epoch: int, rank: int, world: int) -> Iterable[Any]:
        """Mini-batches of one epoch (from 1) for one of `world` processes, drawn from seed, epoch and rank alone.

        At least ``accumulation * steps_per_epoch`` of them; what is beyond is not drawn.
        """

    def loss(self, batch: Any, device: torch.device) -> Tensor:
        """Mean loss of a mini-batch, one number; called under autocast, so make logits float32 before the loss."""

    def validate(self) -> dict[str, float]:
        """Measures by short name (letters, digits, ``_``), module in evaluation mode on its device.

        The first one decides, higher is better. What cannot be measured is left out or NaN; where the first one is,
        the last epoch counts as the best. Called in the first process only, under autocast.
        """


@dataclass(frozen=True)
class FitPlan:
    """How long and how fast to learn.

    Parameters
    ----------
    epochs
        At most.
    steps_per_epoch
        Steps of the optimiser in each.
    learning_rate
        Highest; it rises over the first twentieth of all steps and falls to zero along a cosine.
    weight_decay
        Of AdamW.
    patience
        Epochs without gain after which training ends.
    seed
        Of everything drawn.
    device
        ``auto``, ``cpu`` or ``cuda``.
    precision
        Of the forward pass; ``auto`` is bfloat16 where the device computes in it.
    accumulation
        Mini-batches behind one step; exact for losses that are means over as many samples each.
    """

    epochs: int
    steps_per_epoch: int
    learning_rate: float
    weight_decay: float = 1e-4
    patience: int = 5
    seed: int = 0
    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    accumulation: int = 1


@dataclass(frozen=True)
class FitProgress:
    """Where a fit is.

    Parameters
    ----------
    epoch, epochs
        The one under way, from 1, and how many there are at most.
    step, steps
        Done in this epoch, and of it.
    loss
        Mean over the epoch so far.
    validation
        Of the last epoch that was judged.
    seconds_left
        If it does not end early; None while nothing is known.
    curve
        Finished epochs.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    validation: dict[str, float]
    seconds_left: float | None
    curve: tuple[CurvePoint, ...]

    @property
    def line(self) -> str:
        """As MONAI's ``StatsHandler`` writes it: clients of MONAI Label draw curves from such lines."""
        if self.curve and self.curve[-1].epoch == self.epoch:
            values = " ".join(f"{name}: {value:.4f}" for name, value in self.validation.items())
            if not values:
                return f"Epoch {self.epoch} of {self.epochs} is over; no study is held out to measure on."
            return f"Epoch[{self.epoch}] Metrics -- {values}"
        return f"Epoch: {self.epoch}/{self.epochs}, Iter: {self.step}/{self.steps} -- train_loss: {self.loss:.4f}"


@dataclass(frozen=True, eq=False)
class Fitted:
    """The best weights, and how they came about.

    Parameters
    ----------
    state
        State dict of the best epoch, on the CPU.
    best_epoch
        Which that is.
    curve
        All epochs.
    seconds
        Of computing, over all parts of a run that was interrupted.
    stopped_early
        Whether patience ended it.
    notes
        Sentences for people, for example that a damaged checkpoint was not used.
    """

    state: dict[str, Tensor]
    best_epoch: int
    curve: tuple[CurvePoint, ...]
    seconds: float
    stopped_early: bool
    notes: tuple[str, ...] = ()
