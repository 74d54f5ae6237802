"""The networks by name, as the weights' manifests call them."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from covid_bert.networks.classifiers import ClipNetwork, EmbeddingMlp, StudyNetwork
from covid_bert.networks.density import EmbeddingDensity
from covid_bert.networks.r2plus1d import BLOCKS_18, R2Plus1D
from covid_bert.networks.segmenter import SliceSegmenter
from covid_bert.networks.slice_network import SliceNetwork
from covid_bert.networks.unet import LungUNet

# The last one is the size of an embedding. The first layer works at the finest grid and costs most of the time.
NARROW_CHANNELS = (8, 32, 64, 128)

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
    # Five slabs; background, right lung, left lung.
    "lung-segmenter": lambda: SliceSegmenter(5, 3, (16, 16, 32, 64, 128, 16)),
    # Three slabs and the lungs of the middle one; no lesion, ground-glass, consolidation.
    "lesion-segmenter": lambda: SliceSegmenter(4, 3, (16, 32, 64, 128, 192, 16)),
    "r2plus1d18-narrow-bert": lambda: ClipNetwork(
        R2Plus1D(BLOCKS_18, NARROW_CHANNELS, stem_channels=16), heads=4, dropout=0.2
    ),
    "study-bert-narrow": lambda: StudyNetwork(NARROW_CHANNELS[-1], activation=nn.GELU, dropout=0.4),
    "embedding-mlp-narrow": lambda: EmbeddingMlp(NARROW_CHANNELS[-1], hidden=64),
    "efficientnet-b0-narrow": lambda: SliceNetwork(width=0.35),
    "clip-density-narrow": lambda: EmbeddingDensity(NARROW_CHANNELS[-1]),
    "slice-density-narrow": lambda: EmbeddingDensity(SliceNetwork.EMBEDDING_SIZE),
    "r2plus1d34": R2Plus1D,
    "r2plus1d18": lambda: R2Plus1D(BLOCKS_18, shared_intermediate_channels=True, batch_norm_eps=1e-5),
}
