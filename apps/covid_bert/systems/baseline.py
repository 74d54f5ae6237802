"""The baseline that S1 and S2 must beat: a 2-D network on single lung slices whose scores are averaged.

After the 2023 and 2024 winners on COV19-CT-DB (ACVLab): EfficientNet on eight slices of the central half.
"""

from __future__ import annotations

import numpy as np
import torch

from covid_bert.clips.sampling import Positions, whole_range
from covid_bert.clips.stack import ClipStack
from covid_bert.networks.slice_network import SliceNetwork
from covid_bert.progress import Progress
from covid_bert.systems.assemble import CLASS_NAMES, FINDING, named, weights_state
from covid_bert.systems.base import ClassificationSystem, Outcome
from covid_bert.systems.configuration import BaselineConfiguration
from covid_bert.systems.loading import LoadedNetwork
from covid_bert.systems.location import LocationAccumulator, grad_cam
from covid_bert.systems.result import StageScore


class SliceVotingSystem(ClassificationSystem[BaselineConfiguration]):
    """Mean over the slices of the slice network's scores."""

    NAME = "baseline"
    TITLE = "2D slice network with mean voting (baseline)"

    @property
    def decisive_parts(self) -> tuple[str, ...]:
        """The slice network."""
        return ("slice",)

    def _run(self, stack: ClipStack, networks: dict[str, LoadedNetwork], progress: Progress) -> Outcome:
        network = networks["slice"]
        module = network.module
        assert isinstance(module, SliceNetwork)
        voters = central_slices(len(stack.indices), self.configuration.slice_count)
        location = LocationAccumulator(len(stack.indices))
        scores, embeddings = [], []
        with progress.stage("clips"):
            for number, position in enumerate(voters):
                progress.update("clips", number / len(voters))
                slice_ = stack.clip(position[None], self.configuration.input_side)[:, :, 0].to(network.device)
                with torch.no_grad():
                    features = module.features(slice_)
                    embeddings.append(module.embed(features)[0].float().cpu().numpy())
                cam, logits = grad_cam(
                    features[:, :, None], lambda maps: module.pool(maps[:, :, 0]), CLASS_NAMES.index(FINDING)
                )
                scores.append(logits[0].softmax(0).double().cpu().numpy())
                location.add(position[None], cam[0].cpu())
        mean = np.mean(scores, axis=0)
        return Outcome(
            stages=[
                StageScore(
                    name="slices",
                    description="Slice network: mean over the slices",
                    scores=named(mean),
                    weights_state=weights_state([network.identity]),
                )
            ],
            scores=mean,
            clips=[position[None] for position in voters],
            clip_kinds=[self.configuration.slice_choice] * len(voters),
            clip_scores=np.stack(scores),
            location=location.mean(),
            embedding=np.mean(embeddings, axis=0),
        )


def central_slices(slices: int, count: int) -> Positions:
    """Positions of `count` slices spread evenly over the central half; fewer where there are fewer slices."""
    start = slices // 4
    middle = max(slices - 2 * start, 1)
    return np.unique(start + whole_range(middle, count))
