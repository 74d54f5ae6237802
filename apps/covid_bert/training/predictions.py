"""What the small configurations' networks say of studies, as the systems run them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from covid_bert.clips.sampling import CLIP_LENGTH, phase_sets, windows
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
    ready = copy.deepcopy(module).to(device).eval().requires_grad_(False)
    fuse_batch_norms(ready.trunk)
    dtype = fast_dtype(device)
    ready.trunk.to(dtype=dtype, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    found = []
    for number, study in enumerate(studies):
        stack, slices = study.stack, len(study.channels)
        sets, ranges = phase_sets(slices, CLIP_LENGTH), windows(slices, CLIP_LENGTH)
        clips = torch.cat([stack.clip(positions, SMALL_INPUT_SIDE) for positions in (*sets, *ranges)])
        with torch.inference_mode():
            output = ready(clips.to(device, dtype).contiguous(memory_format=torch.channels_last_3d))
        scores, embedding = output.logits.softmax(1).cpu(), output.embedding.cpu()
        count = len(sets)
        found.append(
            StudyEmbeddings(
                study.label,
                embedding[:count].clone(),
                embedding[count:].clone(),
                scores[:count].mean(0),
                scores[count:].mean(0),
            )
        )
        if on_study is not None:
            on_study(number + 1)
    return found


def study_scores(module: StudyNetwork, embeddings: Sequence[StudyEmbeddings]) -> Tensor:
    """Final scores of S1, float32 (studies, classes): the mean of clip and study network."""
    with torch.inference_mode():
        second = [
            module(*segment_tokens(item.windows, module.segments)[:2]).logits.softmax(1)[0] for item in embeddings
        ]
    return (torch.stack([item.window_scores for item in embeddings]) + torch.stack(second)) / 2


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
