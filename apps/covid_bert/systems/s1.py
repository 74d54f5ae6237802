"""S1, two stages: the clip network on windows of slices, then BERT over the segments of the study.

Tan, Yao and Liu 2022 (arXiv 2206.14861, ECCV workshops) and the published code.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from covid_bert.clips.sampling import SLICE_CHOICES, Positions, centre_out, segment_bins, segment_pick
from covid_bert.clips.stack import ClipStack
from covid_bert.networks.classifiers import StudyNetwork
from covid_bert.progress import Progress
from covid_bert.systems.assemble import CLASS_NAMES, FINDING, named, weights_state
from covid_bert.systems.base import ClassificationSystem, Outcome
from covid_bert.systems.clip_pass import run_clips
from covid_bert.systems.configuration import S1Configuration
from covid_bert.systems.loading import LoadedNetwork
from covid_bert.systems.result import SegmentAttention, StageScore


class TwoStageSystem(ClassificationSystem[S1Configuration]):
    """Stage one: clip network; stage two: study network on its embeddings; final score: the mean of both."""

    NAME = "s1"
    TITLE = "Two-stage 3D CNN-BERT (S1)"

    @property
    def decisive_parts(self) -> tuple[str, ...]:
        """Both; the study network's weights carry the calibration of the mean."""
        return "clip", "study"

    def _run(self, stack: ClipStack, networks: dict[str, LoadedNetwork], progress: Progress) -> Outcome:
        configuration = self.configuration
        count, length = len(stack.indices), configuration.clip_length
        windows = SLICE_CHOICES[configuration.slice_choice](count, length)
        clips_to_run, first_stage = list(windows), range(len(windows))
        if configuration.first_stage == "centre_out":
            strided = centre_out(count, length)
            # Where a window is that very clip (one window, or 33 slices), it is not computed twice.
            equal = [place for place, window in enumerate(windows) if np.array_equal(strided, window)]
            if not equal:
                clips_to_run.append(strided)
            place = equal[0] if equal else len(windows)
            first_stage = range(place, place + 1)
        with progress.stage("clips"):
            clips = run_clips(
                networks["clip"],
                stack,
                clips_to_run,
                input_side=configuration.input_side,
                target=CLASS_NAMES.index(FINDING),
                on_progress=lambda fraction: progress.update("clips", fraction),
            )
        with progress.stage("study"):
            embeddings = clips.embeddings[: len(windows)]
            tokens, valid, members = self._segments(embeddings)
            first = clips.scores[list(first_stage)].mean(0).double().numpy()
            second, attention = _study_scores(networks["study"], tokens, valid)
        return Outcome(
            stages=[
                StageScore(
                    name="clips",
                    description="Clip network: one clip over the whole range"
                    if configuration.first_stage == "centre_out"
                    else "Clip network: mean over the windows",
                    scores=named(first),
                    weights_state=weights_state([networks["clip"].identity]),
                ),
                StageScore(
                    name="study",
                    description="Study network: BERT over the segments of the study",
                    scores=named(second),
                    weights_state=weights_state([networks[role].identity for role in ("clip", "study")]),
                ),
            ],
            scores=(first + second) / 2,
            clips=clips.clips,
            clip_kinds=["windows"] * len(windows) + ["centre_out"] * (len(clips.clips) - len(windows)),
            clip_scores=clips.scores.double().numpy(),
            location=clips.location,
            segments=[
                SegmentAttention(windows=[int(window) for window in bin_], attention=float(weight))
                for bin_, weight in zip(members, attention, strict=False)
            ],
            embedding=embeddings.mean(0).numpy(),
        )

    def _segments(self, embeddings: Tensor) -> tuple[Tensor, Tensor, list[Positions]]:
        """Tokens (1, segments, channels), their validity (1, segments), and the windows of each segment."""
        segments = self.configuration.segments
        if self.configuration.segment_mode == "pick":
            picked = segment_pick(len(embeddings), segments)
            return (
                embeddings[picked][None],
                torch.ones(1, segments, dtype=torch.bool),
                [picked[i : i + 1] for i in range(segments)],
            )
        return segment_tokens(embeddings, segments)


def segment_tokens(embeddings: Tensor, segments: int) -> tuple[Tensor, Tensor, list[Positions]]:
    """Average the embeddings of each segment.

    Parameters
    ----------
    embeddings
        float32 (windows, channels).
    segments
        Tokens of the study network.

    Returns
    -------
    tokens
        float32 (1, segments, channels), 0 where there are fewer windows.
    valid
        bool (1, segments).
    members
        Windows of each segment.
    """
    bins = segment_bins(len(embeddings), segments)
    tokens = torch.zeros(1, segments, embeddings.shape[1])
    tokens[0, : len(bins)] = torch.stack([embeddings[bin_].mean(0) for bin_ in bins])
    return tokens, (torch.arange(segments) < len(bins))[None], bins


def _study_scores(network: LoadedNetwork, tokens: Tensor, valid: Tensor) -> tuple[np.ndarray, np.ndarray]:
    module = network.module
    assert isinstance(module, StudyNetwork)
    with torch.no_grad():
        output = module(tokens.to(network.device), valid.to(network.device))
    return output.logits.softmax(1)[0].double().cpu().numpy(), output.attention[0].cpu().numpy()
