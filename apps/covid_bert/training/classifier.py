"""Training of the small configurations' networks on synthetic studies, and the losses that retraining shares."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d, cross_entropy

from covid_bert.networks.classifiers import ClipNetwork, EmbeddingMlp, StudyNetwork
from covid_bert.networks.slice_network import SliceNetwork
from covid_bert.systems.s1 import segment_tokens
from covid_bert.training.clip_samples import StudyDraw, augmented, draw_clip, draw_slice
from covid_bert.training.predictions import StudyEmbeddings
from covid_bert.training.schedule import Schedule
from covid_bert.training.seen import SeenStudy

# Synthetic studies carry their label without doubt; real ones would not.
LABEL_SMOOTHING = 0.05
# Most steps see clips of half the side, at a quarter of the time; the last ones see them as they are in use.
COARSE_SHARE, COARSE = 0.8, 2
# The pooling learns more slowly than the trunk, which also learns through a plain mean of its features: through the
# pooling with its dropouts alone it had learned next to nothing after hundreds of steps.
POOLING_RATE = 0.3
OnStep = Callable[[int, float, float], None]
Module = TypeVar("Module", bound=nn.Module)
Batch = TypeVar("Batch")
_REPORTED = 25
_SETTLING = 40


def train_clip_network(
    module: ClipNetwork,
    studies: Sequence[SeenStudy],
    schedule: Schedule,
    *,
    seed: int,
    precision: torch.dtype = torch.bfloat16,
    on_step: OnStep | None = None,
) -> ClipNetwork:
    """Train the clip network on random clips, first on coarse ones; in place.

    Parameters
    ----------
    module
        Initialised by the caller.
    studies
        Of both classes.
    schedule
        How long and how fast.
    seed
        Of samples and dropout.
    precision
        Of the trunk in the forward pass: bfloat16 or float32. Weights and loss are in float32.
    on_step
        Told step, mean loss since it was last told (of pooling and plain mean together), and seconds since the start;
        may raise to cancel.

    Returns
    -------
    ClipNetwork
        The module in evaluation mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        auxiliary = nn.Linear(module.classifier.in_features, module.classifier.out_features)

    def loss(samples: Tensor, labels: Tensor) -> Tensor:
        return clip_loss(module, auxiliary, samples, labels, precision)

    rate = schedule.learning_rate
    groups = [
        {"params": [*module.trunk.parameters(), *auxiliary.parameters()], "highest": rate},
        {"params": [*module.bert.parameters(), *module.classifier.parameters()], "highest": POOLING_RATE * rate},
    ]
    generator = np.random.default_rng([seed, 3])
    coarse = round(COARSE_SHARE * schedule.steps)
    samples = _samples(studies, schedule.batch, generator, draw=draw_clip, coarse=coarse)
    return _optimise(module, samples, loss, schedule, seed=seed, groups=groups, on_step=on_step)


def train_slice_network(
    module: SliceNetwork,
    studies: Sequence[SeenStudy],
    schedule: Schedule,
    *,
    seed: int,
    on_step: OnStep | None = None,
) -> SliceNetwork:
    """Train the slice network on random slices of the central half, in float32; in place.

    Parameters are those of `train_clip_network`.
    """

    def loss(samples: Tensor, labels: Tensor) -> Tensor:
        return slice_loss(module, samples, labels)

    generator = np.random.default_rng([seed, 4])
    samples = _samples(studies, schedule.batch, generator, draw=draw_slice)
    module = _optimise(module, samples, loss, schedule, seed=seed, on_step=on_step)
    _settle_batch_norms(module, (slices[:, :, 0] for slices, _ in itertools.islice(samples, _SETTLING)))
    return module


def train_mlp(
    module: EmbeddingMlp, embeddings: list[StudyEmbeddings], schedule: Schedule, *, seed: int
) -> EmbeddingMlp:
    """Train the MLP of S2 on the embeddings of its clips; in place."""

    def loss(chosen: list[StudyEmbeddings], labels: Tensor) -> Tensor:
        return mlp_loss(module, [item.sets for item in chosen], labels)

    return _optimise(module, _choices(embeddings, schedule.batch, seed), loss, schedule, seed=seed)


def train_study_network(
    module: StudyNetwork, embeddings: list[StudyEmbeddings], schedule: Schedule, *, seed: int
) -> StudyNetwork:
    """Train the study network of S1 on the embeddings of the windows; in place."""

    def loss(chosen: list[StudyEmbeddings], labels: Tensor) -> Tensor:
        return study_loss(module, [item.windows for item in chosen], labels)

    return _optimise(module, _choices(embeddings, schedule.batch, seed), loss, schedule, seed=seed)


def clip_loss(
    module: ClipNetwork, auxiliary: nn.Linear, samples: Tensor, labels: Tensor, precision: torch.dtype
) -> Tensor:
    """Loss of the clip network on (batch, 3, slices, side, side) clips.

    Parameters
    ----------
    module
        On the device of the samples.
    auxiliary
        Classifies the plain mean of the trunk's features.
    samples, labels
        Normalised clips, and int64 (batch) classes.
    precision
        Of the trunk; the pooling stays in float32.
    """
    device = samples.device.type
    # Channels last would be slower here: the backward pass of the batch norms is.
    with torch.autocast(device, torch.bfloat16, enabled=precision is torch.bfloat16):
        features = module.trunk(samples)
    with torch.autocast(device, enabled=False):
        features = features.float()
        logits = module.pool(features).logits, auxiliary(features.mean((-3, -2, -1)))
        first, second = (cross_entropy(part, labels, label_smoothing=LABEL_SMOOTHING) for part in logits)
        return first + second


def slice_loss(module: SliceNetwork, samples: Tensor, labels: Tensor) -> Tensor:
    """Loss of the slice network on (batch, 3, 1, side, side) slices."""
    return cross_entropy(module(samples[:, :, 0]).float(), labels, label_smoothing=LABEL_SMOOTHING)


def mlp_loss(module: EmbeddingMlp, sets: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Loss of the MLP on the (clips, channels) embeddings of some studies."""
    logits = torch.stack([module(item) for item in sets])
    return cross_entropy(logits, labels, label_smoothing=LABEL_SMOOTHING)


def study_loss(module: StudyNetwork, windows: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Loss of the study network on the (windows, channels) embeddings of some studies."""
    pairs = [segment_tokens(item, module.segments) for item in windows]
    tokens, valid = (torch.cat(parts) for parts in zip(*((pair[0], pair[1]) for pair in pairs), strict=True))
    tokens, valid = tokens.to(labels.device), valid.to(labels.device)
    return cross_entropy(module(tokens, valid).logits, labels, label_smoothing=LABEL_SMOOTHING)


def _settle_batch_norms(module: nn.Module, batches: Iterable[Tensor]) -> None:
    """Take means and variances anew over some batches; all else stays in evaluation mode.

    EfficientNet's running statistics move by a hundredth with each batch, and lag far behind after a short training.
    """
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
        norm.train()
    with torch.no_grad():
        for batch in batches:
            module(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def _samples(
    studies: Sequence[SeenStudy],
    batch: int,
    generator: np.random.Generator,
    *,
    draw: Callable[..., np.ndarray],
    coarse: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches for ever, the first `coarse` of them of half the side: (batch, 3, slices, side, side), and labels."""
    studies_drawn = StudyDraw(studies, generator)
    for number in itertools.count():
        chosen = studies_drawn.batch(batch)
        samples = torch.stack([augmented(study.channels, draw(study, generator), generator) for study in chosen])
        if number < coarse:
            samples = avg_pool3d(samples, (1, COARSE, COARSE))
        yield samples, torch.tensor([study.label for study in chosen])


def _choices(
    embeddings: list[StudyEmbeddings], batch: int, seed: int
) -> Iterator[tuple[list[StudyEmbeddings], Tensor]]:
    """Batches for ever, both classes equally often."""
    generator = np.random.default_rng([seed, 5])
    members = [[item for item in embeddings if item.label == label] for label in (0, 1)]
    while True:
        chosen = [members[number % 2][int(generator.integers(len(members[number % 2])))] for number in range(batch)]
        yield chosen, torch.tensor([item.label for item in chosen])


def _optimise(
    module: Module,
    batches: Iterator[tuple[Batch, Tensor]],
    loss: Callable[[Batch, Tensor], Tensor],
    schedule: Schedule,
    *,
    seed: int,
    groups: list[dict[str, Any]] | None = None,
    on_step: OnStep | None = None,
) -> Module:
    """Minimise `loss` over the schedule's steps; the generator's state outside is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module.train()
        groups = groups or [{"params": list(module.parameters()), "highest": schedule.learning_rate}]
        optimizer = torch.optim.AdamW(groups, schedule.learning_rate, weight_decay=schedule.weight_decay)
        started, total = time.monotonic(), 0.0
        for step in range(schedule.steps):
            for group in optimizer.param_groups:
                group["lr"] = group["highest"] * schedule.rate(step)
            value = loss(*next(batches))
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_([value for group in groups for value in group["params"]], 5.0)
            optimizer.step()
            total += float(value.detach())
            if on_step is not None and (step + 1) % _REPORTED == 0:
                on_step(step + 1, total / _REPORTED, time.monotonic() - started)
                total = 0.0
    return module.eval()
