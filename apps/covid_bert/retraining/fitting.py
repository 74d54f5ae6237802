"""The loop that every retraining goes through; killed at any moment, it goes on as if nothing had happened.

All chance comes from the seed, the epoch and the number of the process, so that what lies in the checkpoint of an epoch
decides all that follows. On one machine with one number of threads, a run that was killed and taken up again ends with
the very bits of one that was not.

Batch norms keep their statistics, which rest on far more studies than a site's labels give; so a step is the same
whether its samples come in one mini-batch, in several, or from several processes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from covid_bert.errors import CancelledError, TrainingDivergedError
from covid_bert.networks.devices import fast_dtype
from covid_bert.retraining import distributed
from covid_bert.retraining.checkpoint import read_checkpoint, write_checkpoint
from covid_bert.retraining.learner import FitPlan, FitProgress, Fitted, Learner
from covid_bert.retraining.records import CurvePoint
from covid_bert.training.schedule import relative_rate

LARGEST_GRADIENT = 5.0
# Seconds between reports within an epoch.
_REPORT_EVERY = 0.5


def fit(
    learner: Learner,
    plan: FitPlan,
    checkpoint: Path,
    report: Callable[[FitProgress], None],
    stop: Callable[[], bool],
    *,
    identity: str = "",
) -> Fitted:
    """Train until the end, or go on with a run that was interrupted, or take up one that was finished.

    Parameters
    ----------
    learner
        Its module is trained in place, and afterwards has the best weights.
    plan
        How long and how fast.
    checkpoint
        File ``*.checkpoint``, written before the first epoch and after each one.
    report
        Told in the first process only, a few times a second at most, and after each epoch.
    stop
        Asked before each step.
    identity
        Of the data and the weights it began with; a checkpoint of another identity or plan is not taken up.

    Raises
    ------
    CancelledError
        If `stop` said so; the checkpoint of the last finished epoch is on the disk.
    TrainingDivergedError
        If the loss or its gradient is not a number; the checkpoint before is kept.
    OutputError
        If the checkpoint cannot be written; the one before is kept.
    ParameterError
        If there is no such device.
    """
    run = _Fit(learner, plan, checkpoint, report, stop, identity)
    with _own_chance(run.device):
        run.begin()
        while not run.done.finished(plan):
            run.epoch(run.done.epoch + 1)
    learner.module.load_state_dict(run.done.best)
    learner.module.eval()
    curve = run.done.curve
    early = run.done.epoch < plan.epochs
    return Fitted(run.done.best, run.done.best_epoch, curve, sum(point.seconds for point in curve), early, run.notes)


@dataclass
class _Done:
    """What the finished epochs left, besides weights and optimiser."""

    epoch: int = 0
    curve: tuple[CurvePoint, ...] = ()
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    best_value: float = -math.inf

    def finished(self, plan: FitPlan) -> bool:
        return self.epoch >= plan.epochs or self.epoch - self.best_epoch >= plan.patience


class _Fit:
    """One fit: what it is made of, and where it is."""

    def __init__(
        self,
        learner: Learner,
        plan: FitPlan,
        checkpoint: Path,
        report: Callable[[FitProgress], None],
        stop: Callable[[], bool],
        identity: str,
    ) -> None:
        self.learner, self.plan, self.checkpoint, self.stop = learner, plan, checkpoint, stop
        self.identity = f"{identity} {asdict(plan)}"
        self.device = distributed.device_of_process(plan.device)
        self.module = learner.module.to(self.device)
        groups = [{"lr": 0.0, "rate": 1.0, **group} for group in learner.groups()]
        self.optimizer = torch.optim.AdamW(groups, plan.learning_rate, weight_decay=plan.weight_decay)
        self.parameters: list[nn.Parameter] = [item for group in groups for item in group["params"]]
        fast = plan.precision == "bfloat16" or (plan.precision == "auto" and fast_dtype(self.device) is torch.bfloat16)
        self.autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=fast)
        self.report = report if distributed.rank() == 0 else lambda _progress: None
        self.done = _Done()
        self.notes: tuple[str, ...] = ()
        self._reported = 0.0

    def begin(self) -> None:
        """Take up the checkpoint, or write the first one."""
        state, note = distributed.from_first(lambda: read_checkpoint(self.checkpoint, self.identity))
        self.notes = (note,) if note else ()
        if state is None:
            # All processes begin with the weights of the first.
            self.module.load_state_dict(distributed.from_first(lambda: _copied(self.module)))
            self._keep()
            return
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        curve = tuple(CurvePoint.model_validate(point) for point in state["curve"])
        self.done = _Done(state["epoch"], curve, state["best"], state["best_epoch"], state["best_value"])

    def epoch(self, number: int) -> None:
        """Train one epoch, judge it, and keep it."""
        started = time.monotonic()
        rank, plan = distributed.rank(), self.plan
        seed = np.random.SeedSequence([plan.seed, number, rank]).generate_state(1)[0]
        torch.manual_seed(int(seed))
        self.module.train()
        for part in self.module.modules():
            if isinstance(part, _NormBase):
                part.eval()
        wanted = plan.steps_per_epoch * plan.accumulation
        batches = iter(islice(self.learner.batches(number, rank, distributed.world()), wanted))
        total, rate = 0.0, 0.0
        for step in range(plan.steps_per_epoch):
            done = (number - 1) * plan.steps_per_epoch + step
            rate = plan.learning_rate * relative_rate(done, plan.epochs * plan.steps_per_epoch)
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group["rate"]
            total += self._step(batches)
            self._tell(number, step + 1, total / (step + 1), time.monotonic() - started)
        self.module.eval()
        with self.autocast:
            measured = distributed.from_first(self.learner.validate)
        point = CurvePoint(
            epoch=number,
            loss=total / plan.steps_per_epoch,
            learning_rate=rate,
            seconds=time.monotonic() - started,
            validation={name: float(value) for name, value in measured.items() if math.isfinite(value)},
        )
        decisive = measured.get(next(iter(measured), ""), math.nan)
        self.done.epoch, self.done.curve = number, (*self.done.curve, point)
        if not math.isfinite(decisive) or decisive > self.done.best_value:
            self.done.best, self.done.best_epoch = _copied(self.module), number
            self.done.best_value = decisive if math.isfinite(decisive) else self.done.best_value
        self._keep()
        self._tell(number, plan.steps_per_epoch, point.loss, 0.0)

    def _step(self, batches: Iterator[Any]) -> float:
        """Learn from the next mini-batches; return their mean loss over all processes."""
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for _ in range(self.plan.accumulation):
            try:
                batch = next(batches)
            except StopIteration:
                raise ValueError("The learner gave fewer mini-batches than planned.") from None
            with self.autocast:
                part = self.learner.loss(batch, self.device) / self.plan.accumulation
            part.backward()
            total += part.detach().float()
        loss, asked = distributed.average_gradients(self.parameters, total, self.stop())
        if asked:
            raise CancelledError(
                "The training was stopped.", "What it had learned is kept; start it again and it goes on there."
            )
        norm = nn.utils.clip_grad_norm_(self.parameters, LARGEST_GRADIENT)
        if not math.isfinite(loss) or not math.isfinite(float(norm)):
            raise TrainingDivergedError(
                "The training was stopped: its loss is not a number any more.",
                "The live version is unchanged. Look for a label that is far off, or train with precision float32.",
            )
        self.optimizer.step()
        return loss

    def _keep(self) -> None:
        if distributed.rank() == 0:
            done = self.done
            state = {
                "identity": self.identity,
                "epoch": done.epoch,
                "curve": [point.model_dump() for point in done.curve],
                "best": done.best,
                "best_epoch": done.best_epoch,
                "best_value": done.best_value,
                "module": _copied(self.module),
                "optimizer": self.optimizer.state_dict(),
            }
            write_checkpoint(self.checkpoint, state)

    def _tell(self, number: int, step: int, loss: float, seconds: float) -> None:
        """Report; `seconds` of an epoch under way, 0 after a finished one."""
        plan, curve = self.plan, self.done.curve
        if seconds and time.monotonic() - self._reported < _REPORT_EVERY:
            return
        self._reported = time.monotonic()
        # Judging takes its time too, which is known from the second epoch on.
        whole = sum(point.seconds for point in curve) / len(curve) if curve else seconds / step * plan.steps_per_epoch
        left = max(0.0, whole * (plan.epochs - number + (1 if seconds else 0)) - seconds)
        validation = curve[-1].validation if curve else {}
        self.report(FitProgress(number, plan.epochs, step, plan.steps_per_epoch, loss, validation, left, curve))


def _copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}


@contextmanager
def _own_chance(device: torch.device) -> Iterator[None]:
    """Leave the generators outside as they were; on graphics cards choose kernels that repeat themselves."""
    devices = [device.index or 0] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
    ):
        yield
