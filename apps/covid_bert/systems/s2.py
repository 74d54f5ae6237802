"""S2: the clip network on several clips of the study, and an MLP on their pooled embeddings.

Tan and Liu 2021 (arXiv 2106.14403) and the published code.
"""

from __future__ import annotations

import torch

from covid_bert.clips.sampling import SLICE_CHOICES
from covid_bert.clips.stack import ClipStack
from covid_bert.progress import Progress
from covid_bert.systems.assemble import CLASS_NAMES, FINDING, named, weights_state
from covid_bert.systems.base import ClassificationSystem, Outcome
from covid_bert.systems.clip_pass import run_clips
from covid_bert.systems.configuration import S2Configuration
from covid_bert.systems.loading import LoadedNetwork
from covid_bert.systems.result import StageScore


class ClipMlpSystem(ClassificationSystem[S2Configuration]):
    """Stage one: mean over the clips; stage two: MLP on maximum and mean of the embeddings; one of them decides."""

    NAME = "s2"
    TITLE = "3D CNN-BERT with MLP (S2)"

    @property
    def decisive_parts(self) -> tuple[str, ...]:
        """The clip network, and the MLP on its embeddings where that decides."""
        return ("clip", "mlp") if self.configuration.decision == "mlp" else ("clip",)

    def _run(self, stack: ClipStack, networks: dict[str, LoadedNetwork], progress: Progress) -> Outcome:
        choose = SLICE_CHOICES[self.configuration.slice_choice]
        with progress.stage("clips"):
            clips = run_clips(
                networks["clip"],
                stack,
                choose(len(stack.indices), self.configuration.clip_length),
                input_side=self.configuration.input_side,
                target=CLASS_NAMES.index(FINDING),
                on_progress=lambda fraction: progress.update("clips", fraction),
            )
        with progress.stage("study"), torch.no_grad():
            mlp = networks["mlp"]
            logits = mlp.module(clips.embeddings.to(mlp.device))
        mean = clips.scores.mean(0).double().numpy()
        pooled = logits.softmax(0).double().cpu().numpy()
        return Outcome(
            stages=[
                StageScore(
                    name="clips",
                    description="Clip network: mean over the clips",
                    scores=named(mean),
                    weights_state=weights_state([networks["clip"].identity]),
                ),
                StageScore(
                    name="mlp",
                    description="MLP on maximum and mean of the embeddings",
                    scores=named(pooled),
                    weights_state=weights_state([networks[role].identity for role in ("clip", "mlp")]),
                ),
            ],
            scores=pooled if self.configuration.decision == "mlp" else mean,
            clips=clips.clips,
            clip_kinds=[self.configuration.slice_choice] * len(clips.clips),
            clip_scores=clips.scores.double().numpy(),
            location=clips.location,
            embedding=clips.embeddings.mean(0).numpy(),
        )
