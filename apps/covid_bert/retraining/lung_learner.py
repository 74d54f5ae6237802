"""The lung network as the training loop sees it: slabs of corrected studies, and phantoms against forgetting."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from covid_bert.lungs import unet
from covid_bert.retraining.judging import mean_dice
from covid_bert.segmentation import predict, scale
from covid_bert.training.default_segmenters import RECIPES
from covid_bert.training.segmenter import segmentation_loss
from covid_bert.training.slabs import SlabBatches, SlabTask, WorkingMaterial, into_slabs

BATCH = 8
# Corrected studies have lesions of their own; what is planted keeps the network used to dense lungs.
PATTERNS = (("none", 0.5), ("covid-like", 0.15), ("bacterial-like", 0.1), ("consolidation", 0.25))
PHANTOM_SHARE = 0.2
# Synthetic studies that are held in memory at a time.
_POOL = 8
# Studies that each epoch is judged on at most; the end of the run judges on all.
_JUDGED = 12


class LungLearner:
    """Learns lung masks; see `covid_bert.retraining.fitting.Learner`.

    Parameters
    ----------
    module
        `SliceSegmenter` of the lungs with the weights to begin with.
    cases, phantoms
        To learn from.
    held
        To judge each epoch on.
    window_hu
        Of the network's input.
    seed
        Of everything drawn.
    check
        Called now and then while judging; may raise to cancel.
    """

    def __init__(
        self,
        module: nn.Module,
        cases: Sequence[WorkingMaterial],
        phantoms: Sequence[WorkingMaterial],
        held: Sequence[WorkingMaterial],
        *,
        window_hu: tuple[float, float],
        seed: int,
        check: Callable[[], None],
    ) -> None:
        self.module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.materials = [*cases, *phantoms]
        self.shares = [(1 - PHANTOM_SHARE) / len(cases)] * len(cases)
        self.shares += [PHANTOM_SHARE / len(phantoms)] * len(phantoms)
        self.held = held[:_JUDGED]
        self.seed = seed
        self.check = check
        self.task: SlabTask = replace(RECIPES["lungs"].task, window_hu=window_hu, patterns=PATTERNS)

    def groups(self) -> list[dict[str, Any]]:
        """All parameters alike."""
        return [{"params": list(self.module.parameters())}]

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Slabs for ever."""
        seed = np.random.SeedSequence([self.seed, epoch, rank, world]).generate_state(1)[0]
        # Without processes of their own, which a kill would leave behind: making slabs takes a fifth of the time.
        return iter(
            SlabBatches(
                self.materials,
                self.task,
                seed=int(seed),
                batch=BATCH,
                pool=_POOL,
                shares=self.shares,
            )
        )

    def loss(self, batch: tuple[Tensor, Tensor], device: torch.device) -> Tensor:
        """Cross-entropy and Dice, as in the default training."""
        samples, targets = batch
        logits = self.module(samples.to(device, memory_format=torch.channels_last))
        return segmentation_loss(logits.float(), targets.to(device))

    def validate(self) -> dict[str, float]:
        """Mean Dice of both lungs over the held studies, on the working grid."""
        values = []
        for case in self.held:
            self.check()
            values.append(self._dice(case))
        return {"dice": float(np.mean(values))} if values else {}

    def _dice(self, case: WorkingMaterial) -> float:
        # Whole slices of a slab, as `WorkingGrid` counts them.
        step = max(1, int(self.task.thickness / case.spacing[0] + 0.01))
        slabs = into_slabs(case.hounsfield, case.lungs, np.zeros(case.lungs.shape, np.uint8), step)
        probabilities = predict(
            self.module,
            scale(slabs.hounsfield, self.task.window_hu),
            context=self.task.context,
            device=next(self.module.parameters()).device,
            on_progress=lambda _fraction: self.check(),
        )
        return mean_dice(unet.tidy(probabilities, self.task.pixel**2), slabs.lungs)
