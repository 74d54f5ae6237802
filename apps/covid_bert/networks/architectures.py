"""The networks by name, as the weights' manifests call them."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from covid_bert.networks.classifiers import ClipNetwork, EmbeddingMlp, StudyNetwork
from covid_bert.networks.r2plus1d import BLOCKS_18, R2Plus1D
from covid_bert.networks.slice_network import SliceNetwork
from covid_bert.networks.unet import LungUNet

# Batch norm's momentum is 0.9 in the published code: nearly all of the running statistics then come from the last
# mini-batch. It changes training only, so that one architecture serves both configurations at inference.
ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "r2plus1d34-bert": lambda: ClipNetwork(R2Plus1D()),
    "study-bert": StudyNetwork,
    "study-bert-gelu": lambda: StudyNetwork(activation=nn.GELU, dropout=0.4),
    "embedding-mlp": EmbeddingMlp,
    "embedding-mlp-256": lambda: EmbeddingMlp(hidden=256),
    "efficientnet-b3": SliceNetwork,
    "lung-unet": LungUNet,
    "r2plus1d34": R2Plus1D,
    "r2plus1d18": lambda: R2Plus1D(BLOCKS_18, shared_intermediate_channels=True, batch_norm_eps=1e-5),
}
