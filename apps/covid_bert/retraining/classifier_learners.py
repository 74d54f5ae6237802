"""Learners of the classifiers for `covid_bert.retraining.fitting.fit`: networks on images, and what reads embeddings.

All samples of a step are drawn by all processes alike, from seed and epoch, and each process makes its own share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from covid_bert.evaluation.metrics import auc
from covid_bert.networks.classifiers import ClipNetwork
from covid_bert.networks.slice_network import SliceNetwork
from covid_bert.retraining.classifier_systems import Embedded, Reader, embed_with
from covid_bert.training.calibration import calibrated, log_loss
from covid_bert.training.classifier import POOLING_RATE, clip_loss, slice_loss
from covid_bert.training.clip_samples import StudyDraw, augmented, draw_clip, draw_slice
from covid_bert.training.seen import SeenStudy
from covid_bert.training.studies import COVID

NEGATIVE_LOG_LOSS, AREA = "negative_log_loss", "auc"
# Of the squared distance of an aggregator's weights from where they began: a few labels say little of most of them.
ANCHOR = 1e-2
Batch = tuple[Any, Tensor]


def measures(scores: Tensor, labels: Sequence[int]) -> dict[str, float]:
    """Negative log loss of (studies, classes) scores, and their area under the ROC curve; none without studies."""
    positive = np.array(labels) == COVID
    if not len(positive):
        return {}
    probability = calibrated(scores.double().numpy(), 1.0)
    # What is not a number counts as sure of what is wrong.
    probability = np.where(np.isfinite(probability), probability, ~positive)
    return {NEGATIVE_LOG_LOSS: -log_loss(probability, positive), AREA: auc(probability, positive)}


class ImageLearner:
    """The clip network or the slice network on random samples of the studies.

    Parameters
    ----------
    network
        At the weights to begin with.
    system
        ``s1``, ``s2`` or ``baseline``: whose score is judged.
    studies, validation
        To learn from, of both classes, and to be judged on.
    batch
        Samples of a mini-batch in each process.
    seed
        Of everything drawn.
    """

    def __init__(
        self,
        network: ClipNetwork | SliceNetwork,
        system: str,
        studies: Sequence[SeenStudy],
        validation: Sequence[SeenStudy],
        *,
        batch: int,
        seed: int,
    ) -> None:
        self.network, self.system, self.batch, self.seed = network, system, batch, seed
        self.studies, self.validation = studies, validation
        parts: dict[str, nn.Module] = {"network": network}
        if isinstance(network, ClipNetwork):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                # Begins at zero: a random one would first drive the trained trunk away.
                auxiliary = nn.Linear(network.classifier.in_features, network.classifier.out_features)
            nn.init.zeros_(auxiliary.weight)
            nn.init.zeros_(auxiliary.bias)
            parts["auxiliary"] = self.auxiliary = auxiliary
        self.module = nn.ModuleDict(parts)

    def groups(self) -> list[dict[str, Any]]:
        """The pooling learns more slowly than the trunk, as in the default training."""
        if isinstance(self.network, SliceNetwork):
            return [{"params": list(self.network.parameters())}]
        slow = [*self.network.bert.parameters(), *self.network.classifier.parameters()]
        fast = [*self.network.trunk.parameters(), *self.auxiliary.parameters()]
        return [{"params": fast}, {"params": slow, "rate": POOLING_RATE}]

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[Batch]:
        """(samples, labels) for ever, both classes equally often."""
        draw = draw_clip if isinstance(self.network, ClipNetwork) else draw_slice
        generator = np.random.default_rng([self.seed, 7, epoch])
        drawn = StudyDraw(self.studies, generator)
        while True:
            chosen = drawn.batch(self.batch * world)
            seeds = generator.integers(2**63, size=len(chosen))
            mine = slice(rank * self.batch, (rank + 1) * self.batch)
            samples = []
            for study, seed in zip(chosen[mine], seeds[mine], strict=True):
                own = np.random.default_rng(int(seed))
                samples.append(augmented(study.channels, draw(study, own), own))
            yield torch.stack(samples), torch.tensor([study.label for study in chosen[mine]])

    def loss(self, batch: Batch, device: torch.device) -> Tensor:
        """Mean loss of a mini-batch."""
        samples, labels = (part.to(device) for part in batch)
        if isinstance(self.network, SliceNetwork):
            return slice_loss(self.network, samples, labels)
        fast = torch.is_autocast_enabled(device.type)
        precision = torch.get_autocast_dtype(device.type) if fast else torch.float32
        return clip_loss(self.network, self.auxiliary, samples, labels, precision)

    def validate(self) -> dict[str, float]:
        """Of the network's own score, as the system would have it."""
        device = next(self.network.parameters()).device
        found = embed_with(self.network, self.system, self.validation, device=device)
        return measures(torch.stack([item.own for item in found]), [item.label for item in found])


class AggregatorLearner:
    """What reads the embeddings of a network that stays as it is.

    Parameters
    ----------
    reader
        At the weights to begin with.
    studies, validation
        Embedded, to learn from, of both classes, and to be judged on.
    batch
        Studies of a mini-batch in each process.
    seed
        Of everything drawn.
    """

    def __init__(
        self, reader: Reader, studies: Sequence[Embedded], validation: Sequence[Embedded], *, batch: int, seed: int
    ) -> None:
        self.module, self.batch, self.seed = reader, batch, seed
        self.studies, self.validation = studies, validation
        self.start = [value.detach().clone() for value in reader.parameters()]

    def groups(self) -> list[dict[str, Any]]:
        """All alike."""
        return [{"params": list(self.module.parameters())}]

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[list[Embedded]]:
        """Embedded studies for ever, both classes equally often, and within them each person."""
        drawn = StudyDraw(self.studies, np.random.default_rng([self.seed, 8, epoch]))
        while True:
            yield drawn.batch(self.batch * world)[rank * self.batch : (rank + 1) * self.batch]

    def loss(self, batch: list[Embedded], device: torch.device) -> Tensor:
        """Mean loss of a mini-batch, and what holds the weights near where they began."""
        # So small that half precision would gain nothing.
        with torch.autocast(device.type, enabled=False):
            labels = torch.tensor([item.label for item in batch], device=device)
            loss = self.module.loss([item.embeddings.to(device) for item in batch], labels)
            self.start = [value.to(device) for value in self.start]
            moved = zip(self.module.parameters(), self.start, strict=True)
            return loss + ANCHOR * torch.stack([(new - old).square().sum() for new, old in moved]).sum()

    def validate(self) -> dict[str, float]:
        """Of the system's final score."""
        return measures(self.module.scores(self.validation), [item.label for item in self.validation])
