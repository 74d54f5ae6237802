"""Training of the small configurations' networks on synthetic studies, and what they say of a study."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from covid_bert.clips.sampling import CLIP_LENGTH, phase_sets, windows
from covid_bert.networks.classifiers import ClipNetwork, EmbeddingMlp, StudyNetwork
from covid_bert.networks.fusion import fuse_batch_norms
from covid_bert.networks.slice_network import SliceNetwork
from covid_bert.systems.baseline import central_slices
from covid_bert.systems.configuration import BASELINE_CONFIGURATIONS, SMALL_INPUT_SIDE
from covid_bert.systems.loading import choose_dtype
from covid_bert.systems.s1 import segment_tokens
from covid_bert.training.clip_samples import StudyDraw, augmented, draw_clip, draw_slice
from covid_bert.training.segmenter import Schedule
from covid_bert.training.studies import ClassifierStudy

# Synthetic studies carry their label without doubt; real ones would not.
LABEL_SMOOTHING = 0.05
OnStep = Callable[[int, float, float], None]
Module = TypeVar("Module", bound=nn.Module)
Batch = TypeVar("Batch")
_REPORTED = 25


@dataclass(frozen=True, eq=False)
class StudyEmbeddings:
    """What the clip network says of one study.

    Parameters
    ----------
    label
        Index into `CLASS_NAMES`.
    sets, windows
        float32 (clips, channels) embeddings of S2's and of S1's clips.
    set_scores, window_scores
        float32 (classes): mean of the clips' softmax.
    """

    label: int
    sets: Tensor
    windows: Tensor
    set_scores: Tensor
    window_scores: Tensor


def train_clip_network(
    module: ClipNetwork,
    studies: list[ClassifierStudy],
    schedule: Schedule,
    *,
    seed: int,
    precision: torch.dtype = torch.bfloat16,
    on_step: OnStep | None = None,
) -> ClipNetwork:
    """Train the clip network on random clips; in place.

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
        Told step, mean loss since it was last told, and seconds since the start; may raise to cancel.

    Returns
    -------
    ClipNetwork
        The module in evaluation mode.
    """

    def loss(samples: Tensor, labels: Tensor) -> Tensor:
        # Channels last would be slower here: the backward pass of the batch norms is.
        with torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16):
            features = module.trunk(samples)
        return cross_entropy(module.pool(features.float()).logits, labels, label_smoothing=LABEL_SMOOTHING)

    generator = np.random.default_rng([seed, 3])
    samples = _samples(studies, schedule.batch, generator, draw=draw_clip)
    return _optimise(module, samples, loss, schedule, seed=seed, on_step=on_step)


def train_slice_network(
    module: SliceNetwork,
    studies: list[ClassifierStudy],
    schedule: Schedule,
    *,
    seed: int,
    on_step: OnStep | None = None,
) -> SliceNetwork:
    """Train the slice network on random slices of the central half, in float32; in place.

    Parameters are those of `train_clip_network`.
    """

    def loss(samples: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(module(samples[:, :, 0]), labels, label_smoothing=LABEL_SMOOTHING)

    generator = np.random.default_rng([seed, 4])
    samples = _samples(studies, schedule.batch, generator, draw=draw_slice)
    return _optimise(module, samples, loss, schedule, seed=seed, on_step=on_step)


def embed_studies(
    module: ClipNetwork, studies: list[ClassifierStudy], *, on_study: Callable[[int], None] | None = None
) -> list[StudyEmbeddings]:
    """Run the clip network over all clips of both systems, with folded batch norms and in the precision of use.

    Parameters
    ----------
    module
        Trained; not changed.
    studies
        Any.
    on_study
        Told the number of studies that are done; may raise to cancel.
    """
    ready = copy.deepcopy(module).eval().requires_grad_(False)
    fuse_batch_norms(ready.trunk)
    dtype = choose_dtype("auto", torch.device("cpu"))
    ready.trunk.to(dtype=dtype, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    found = []
    for number, study in enumerate(studies):
        stack, slices = study.stack, len(study.channels)
        sets, ranges = phase_sets(slices, CLIP_LENGTH), windows(slices, CLIP_LENGTH)
        clips = torch.cat([stack.clip(positions, SMALL_INPUT_SIDE) for positions in (*sets, *ranges)])
        with torch.inference_mode():
            output = ready(clips.to(dtype).contiguous(memory_format=torch.channels_last_3d))
        scores = output.logits.softmax(1)
        count = len(sets)
        found.append(
            StudyEmbeddings(
                study.label,
                output.embedding[:count].clone(),
                output.embedding[count:].clone(),
                scores[:count].mean(0),
                scores[count:].mean(0),
            )
        )
        if on_study is not None:
            on_study(number + 1)
    return found


def train_mlp(
    module: EmbeddingMlp, embeddings: list[StudyEmbeddings], schedule: Schedule, *, seed: int
) -> EmbeddingMlp:
    """Train the MLP of S2 on the embeddings of its clips; in place."""

    def loss(chosen: list[StudyEmbeddings], labels: Tensor) -> Tensor:
        logits = torch.stack([module(item.sets) for item in chosen])
        return cross_entropy(logits, labels, label_smoothing=LABEL_SMOOTHING)

    return _optimise(module, _choices(embeddings, schedule.batch, seed), loss, schedule, seed=seed)


def train_study_network(
    module: StudyNetwork, embeddings: list[StudyEmbeddings], schedule: Schedule, *, seed: int
) -> StudyNetwork:
    """Train the study network of S1 on the embeddings of the windows; in place."""

    def loss(chosen: list[StudyEmbeddings], labels: Tensor) -> Tensor:
        pairs = [segment_tokens(item.windows, module.segments) for item in chosen]
        tokens, valid = (torch.cat(parts) for parts in zip(*((pair[0], pair[1]) for pair in pairs), strict=True))
        return cross_entropy(module(tokens, valid).logits, labels, label_smoothing=LABEL_SMOOTHING)

    return _optimise(module, _choices(embeddings, schedule.batch, seed), loss, schedule, seed=seed)


def study_scores(module: StudyNetwork, embeddings: list[StudyEmbeddings]) -> Tensor:
    """Final scores of S1, float32 (studies, classes): the mean of clip and study network."""
    with torch.inference_mode():
        second = [
            module(*segment_tokens(item.windows, module.segments)[:2]).logits.softmax(1)[0] for item in embeddings
        ]
    return (torch.stack([item.window_scores for item in embeddings]) + torch.stack(second)) / 2


def vote(module: SliceNetwork, studies: list[ClassifierStudy]) -> tuple[Tensor, Tensor]:
    """Scores and embeddings of the baseline.

    Parameters
    ----------
    module
        In evaluation mode.
    studies
        Any.

    Returns
    -------
    scores
        float32 (studies, classes): mean over the voting slices.
    embeddings
        float32 (studies, channels): mean over the voting slices.
    """
    scores, embeddings = [], []
    count = BASELINE_CONFIGURATIONS["small"].slice_count
    for study in studies:
        voters = central_slices(len(study.channels), count)
        slices = study.stack.clip(voters, SMALL_INPUT_SIDE)[0].transpose(0, 1)
        with torch.inference_mode():
            embedded = module.embed(module.features(slices))
            scores.append(module.classifier(embedded).softmax(1).mean(0))
        embeddings.append(embedded.mean(0))
    return torch.stack(scores), torch.stack(embeddings)


def _samples(
    studies: list[ClassifierStudy], batch: int, generator: np.random.Generator, *, draw: Callable[..., np.ndarray]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches for ever: float32 (batch, 3, slices, side, side) and their labels."""
    studies_drawn = StudyDraw(studies, generator)
    while True:
        chosen = studies_drawn.batch(batch)
        samples = [augmented(study.channels, draw(study, generator), generator) for study in chosen]
        yield torch.stack(samples), torch.tensor([study.label for study in chosen])


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
    on_step: OnStep | None = None,
) -> Module:
    """Minimise `loss` over the schedule's steps; the generator's state outside is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module.train()
        optimizer = torch.optim.AdamW(module.parameters(), schedule.learning_rate, weight_decay=schedule.weight_decay)
        started, total = time.monotonic(), 0.0
        for step in range(schedule.steps):
            for group in optimizer.param_groups:
                group["lr"] = schedule.learning_rate * schedule.rate(step)
            value = loss(*next(batches))
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(module.parameters(), 5.0)
            optimizer.step()
            total += float(value.detach())
            if on_step is not None and (step + 1) % _REPORTED == 0:
                on_step(step + 1, total / _REPORTED, time.monotonic() - started)
                total = 0.0
    return module.eval()
