"""What the small configurations' networks say of studies, as the systems run them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from covid_bert.clips.sampling import CLIP_LENGTH, Positions, phase_sets, windows
from covid_bert.networks.classifiers import ClipNetwork, StudyNetwork
from covid_bert.networks.devices import fast_dtype
from covid_bert.networks.fusion import fuse_batch_norms
from covid_bert.networks.slice_network import SliceNetwork
from covid_bert.systems.baseline import central_slices
from covid_bert.systems.configuration import BASELINE_CONFIGURATIONS, SMALL_INPUT_SIDE
from covid_bert.systems.s1 import segment_tokens
from covid_bert.training.seen import SeenStudy

PROCESSOR = torch.device("cpu")


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


def embed_studies(
    module: ClipNetwork,
    studies: Sequence[SeenStudy],
    *,
    device: torch.device = PROCESSOR,
    on_study: Callable[[int], None] | None = None,
) -> list[StudyEmbeddings]:
    """Run the clip network over all clips of both systems, with folded batch norms and in the precision of use.

    Parameters
    ----------
    module
        Trained; not changed.
    studies
        Any.
    device
        Where it computes; the embeddings come back to the CPU.
    on_study
        Told the number of studies that are done; may raise to cancel.
    """
    ready, found = ready_network(module, device), []
    for number, study in enumerate(studies):
        slices = len(study.channels)
        sets, ranges = phase_sets(slices, CLIP_LENGTH), windows(slices, CLIP_LENGTH)
        embedding, scores = embed_clips(ready, study, [*sets, *ranges])
        count = len(sets)
        found.append(
            StudyEmbeddings(
                study.label, embedding[:count], embedding[count:], scores[:count].mean(0), scores[count:].mean(0)
            )
        )
        if on_study is not None:
            on_study(number + 1)
    return found


def ready_network(module: ClipNetwork, device: torch.device = PROCESSOR) -> ClipNetwork:
    """A copy of the clip network with folded batch norms, in the precision of use."""
    ready = copy.deepcopy(module).to(device).eval().requires_grad_(False)
    fuse_batch_norms(ready.trunk)
    ready.trunk.to(dtype=fast_dtype(device), memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return ready


def embed_clips(ready: ClipNetwork, study: SeenStudy, clips: Sequence[Positions]) -> tuple[Tensor, Tensor]:
    """Embeddings (clips, channels) and scores (clips, classes) of some clips of a study, on the CPU.

    Parameters
    ----------
    ready
        Made by `ready_network`.
    study
        With its channels.
    clips
        Positions of each clip among the kept slices.
    """
    weight = next(ready.trunk.parameters())
    stack = study.stack
    samples = torch.cat([stack.clip(positions, SMALL_INPUT_SIDE) for positions in clips])
    samples = samples.to(weight.device, weight.dtype).contiguous(memory_format=torch.channels_last_3d)
    with torch.inference_mode():
        output = ready(samples)
        scores = output.logits.softmax(1)
    # Copies that training may read: tensors of the inference mode cannot take part in it.
    return output.embedding.cpu().clone(), scores.cpu().clone()


def study_scores(module: StudyNetwork, embeddings: Sequence[StudyEmbeddings]) -> Tensor:
    """Final scores of S1, float32 (studies, classes): the mean of clip and study network."""
    return torch.stack([study_score(module, item.windows, item.window_scores) for item in embeddings])


def study_score(module: StudyNetwork, windows: Tensor, clip_score: Tensor) -> Tensor:
    """Final score of S1 for one study, (classes), from its (windows, channels) and the clip network's mean score."""
    tokens, valid, _ = segment_tokens(windows, module.segments)
    device = next(module.parameters()).device
    with torch.inference_mode():
        second = module(tokens.to(device), valid.to(device)).logits.softmax(1)[0].cpu()
    return (clip_score + second) / 2


def embed_slices(
    module: SliceNetwork, studies: Sequence[SeenStudy], *, device: torch.device = PROCESSOR
) -> list[Tensor]:
    """Embeddings of the voting slices of each study: float32 (slices, channels), on the CPU.

    Parameters
    ----------
    module
        In evaluation mode, on `device`.
    studies
        Any.
    device
        Where it computes.
    """
    count, found = BASELINE_CONFIGURATIONS["small"].slice_count, []
    for study in studies:
        voters = central_slices(len(study.channels), count)
        slices = study.stack.clip(voters, SMALL_INPUT_SIDE)[0].transpose(0, 1).to(device)
        with torch.inference_mode():
            embedding = module.embed(module.features(slices)).cpu()
        found.append(embedding.clone())
    return found


def mean_score(classifier: nn.Module, embeddings: Tensor) -> Tensor:
    """Mean over clips or slices of the softmax: (clips, channels) to (classes)."""
    return classifier(embeddings).softmax(1).mean(0)


def vote(module: SliceNetwork, studies: Sequence[SeenStudy]) -> tuple[Tensor, Tensor]:
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
    embedded = embed_slices(module, studies)
    with torch.inference_mode():
        scores = [mean_score(module.classifier, item) for item in embedded]
    return torch.stack(scores), torch.stack([item.mean(0) for item in embedded])
