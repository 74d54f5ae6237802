"""Each system as two parts: the network on images, whose embeddings are computed once, and what reads them."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import nll_loss

from covid_bert.clips.sampling import SLICE_CHOICES
from covid_bert.networks.classifiers import ClipNetwork, EmbeddingMlp, StudyNetwork
from covid_bert.networks.slice_network import SliceNetwork
from covid_bert.systems import SYSTEMS
from covid_bert.training.classifier import mlp_loss, study_loss
from covid_bert.training.predictions import (
    PROCESSOR,
    embed_clips,
    embed_slices,
    mean_score,
    ready_network,
    study_score,
)
from covid_bert.training.seen import SeenStudy

ImageNetwork = ClipNetwork | SliceNetwork
# Role of the network on images in each system.
IMAGE_ROLE = {"s1": "clip", "s2": "clip", "baseline": "slice"}
_CLASSIFIER = "classifier."


@dataclass(frozen=True, eq=False)
class Embedded:
    """What the network on images says of one study.

    Parameters
    ----------
    source, label
        See `covid_bert.training.seen.Labelled`.
    embeddings
        float32 (clips or slices, channels): of those that the system looks at.
    own
        float32 (classes): mean of the network's own scores.
    """

    source: str
    label: int
    embeddings: Tensor
    own: Tensor


class Reader(nn.Module, ABC):
    """What makes a system's final score of the embeddings."""

    @abstractmethod
    def loss(self, embeddings: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Mean loss over some studies, (clips, channels) each."""

    @abstractmethod
    def score(self, study: Embedded) -> Tensor:
        """Final score of one study: float32 (classes), on the CPU."""

    def on(self, network: ImageNetwork) -> Reader:  # noqa: ARG002 (what follows a network on images says how)
        """The same for another state of the network on images."""
        return self

    def scores(self, studies: Sequence[Embedded]) -> Tensor:
        """Final scores: float32 (studies, classes), on the CPU."""
        if not studies:
            return torch.zeros(0, 2)
        with torch.inference_mode():
            return torch.stack([self.score(study) for study in studies])


class StudyReader(Reader):
    """S1: the study network; the score is the mean of both stages."""

    def __init__(self, study: StudyNetwork) -> None:
        super().__init__()
        self.study = study

    def loss(self, embeddings: Sequence[Tensor], labels: Tensor) -> Tensor:
        """As in the default training."""
        return study_loss(self.study, embeddings, labels)

    def score(self, study: Embedded) -> Tensor:
        """Mean of clip and study network."""
        return study_score(self.study, study.embeddings, study.own)


class VoteReader(Reader):
    """S2 and the baseline: the last layer of the network on images, whose scores are averaged; S2's MLP beside it.

    Parameters
    ----------
    network
        Its last layer is copied, and the dropout before it.
    mlp
        None for the baseline.
    """

    def __init__(self, network: ImageNetwork, mlp: EmbeddingMlp | None) -> None:
        super().__init__()
        self.classifier = copy.deepcopy(network.classifier)
        self.dropout = nn.Dropout(network.dropout.p) if isinstance(network, ClipNetwork) else nn.Identity()
        self.mlp = mlp

    def loss(self, embeddings: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Of the averaged score, which is what decides, and of the MLP."""
        voted = torch.stack([mean_score(self.classifier, self.dropout(item)) for item in embeddings])
        loss = nll_loss(voted.clamp_min(1e-6).log(), labels)
        return loss if self.mlp is None else loss + mlp_loss(self.mlp, embeddings, labels)

    def score(self, study: Embedded) -> Tensor:
        """Mean over clips or slices."""
        return mean_score(self.classifier, study.embeddings.to(self.classifier.weight.device)).cpu()

    def on(self, network: ImageNetwork) -> VoteReader:
        """With the last layer that was trained with the network."""
        return VoteReader(network, self.mlp)

    def into(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state dict of the network on images with this last layer."""
        own = {_CLASSIFIER + key: value.detach().cpu().clone() for key, value in self.classifier.state_dict().items()}
        return {**state, **own}


def reader_of(system: str, modules: Mapping[str, nn.Module]) -> Reader:
    """What reads the embeddings of a system; the modules, by role, are not copied but for the last layer."""
    image = modules[IMAGE_ROLE[system]]
    assert isinstance(image, ClipNetwork | SliceNetwork)
    if system == "s1":
        study = modules["study"]
        assert isinstance(study, StudyNetwork)
        return StudyReader(study)
    mlp = modules.get("mlp")
    assert mlp is None or isinstance(mlp, EmbeddingMlp)
    return VoteReader(image, mlp)


def embed_with(
    network: ImageNetwork,
    system: str,
    studies: Sequence[SeenStudy],
    *,
    device: torch.device = PROCESSOR,
    on_study: Callable[[Embedded], None] = lambda _study: None,
) -> list[Embedded]:
    """Run the network on images as the system does in use.

    Parameters
    ----------
    network
        In evaluation mode; a slice network lies on `device`.
    system
        ``s1``, ``s2`` or ``baseline``.
    studies
        Any.
    device
        Where it computes.
    on_study
        Given each as it is done; may raise to cancel.
    """
    configuration = SYSTEMS[system].configurations["small"]
    found = []
    ready = ready_network(network, device) if isinstance(network, ClipNetwork) else None
    for study in studies:
        if ready is not None:
            choose = SLICE_CHOICES[configuration.slice_choice]
            embeddings, scores = embed_clips(ready, study, choose(len(study.channels), configuration.clip_length))
            own = scores.mean(0)
        else:
            assert isinstance(network, SliceNetwork)
            (embeddings,) = embed_slices(network, [study], device=device)
            with torch.inference_mode():
                own = mean_score(network.classifier, embeddings.to(device)).cpu()
        found.append(Embedded(study.source, study.label, embeddings, own.clone()))
        on_study(found[-1])
    return found
