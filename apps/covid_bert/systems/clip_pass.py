"""The loop over the clips of a study: logits, embeddings and location of each, one clip in memory at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from covid_bert.clips.sampling import Positions
from covid_bert.clips.stack import ClipStack
from covid_bert.networks.classifiers import ClipNetwork
from covid_bert.systems.loading import LoadedNetwork
from covid_bert.systems.location import LocationAccumulator, grad_cam


@dataclass(frozen=True)
class ClipPass:
    """What the clip network said of the clips of a study.

    Parameters
    ----------
    clips
        Positions of each clip among the kept slices.
    logits
        float32 (clips, classes).
    embeddings
        float32 (clips, channels).
    location
        float32 (kept slices, rows, columns): mean Grad-CAM.
    """

    clips: list[Positions]
    logits: Tensor
    embeddings: Tensor
    location: npt.NDArray[np.float32]

    @property
    def scores(self) -> Tensor:
        """(clips, classes): softmax of the logits."""
        return self.logits.softmax(1)


def run_clips(
    network: LoadedNetwork,
    stack: ClipStack,
    clips: list[Positions],
    *,
    input_side: int,
    target: int,
    on_progress: Callable[[float], None],
) -> ClipPass:
    """Run the clip network over the clips of a study.

    Parameters
    ----------
    network
        A `ClipNetwork` with its device and precision.
    stack
        The kept slices.
    clips
        Positions of each clip.
    input_side
        Rows and columns that the network sees.
    target
        Class that the location map explains.
    on_progress
        Called with the finished fraction before each clip and at the end; may raise to cancel.
    """
    module = network.module
    assert isinstance(module, ClipNetwork)
    logits: list[Tensor] = []
    embeddings: list[Tensor] = []
    location = LocationAccumulator(len(stack.indices))

    def classify(features: Tensor) -> Tensor:
        output = module.pool(features)
        embeddings.append(output.embedding.detach().cpu())
        return output.logits

    for number, positions in enumerate(clips):
        on_progress(number / len(clips))
        clip = stack.clip(positions, input_side).to(network.device, network.trunk_dtype)
        if network.trunk_dtype is torch.bfloat16:
            clip = clip.contiguous(memory_format=torch.channels_last_3d)
        with torch.inference_mode(False), torch.no_grad():
            features = module.trunk(clip)
        cam, scores = grad_cam(features.detach(), classify, target)
        logits.append(scores.cpu())
        location.add(positions, cam[0].cpu())
    on_progress(1.0)
    return ClipPass(clips, torch.cat(logits), torch.cat(embeddings), location.mean())
