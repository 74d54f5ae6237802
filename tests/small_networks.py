"""Fixtures: small networks in place of the published ones, so that whole systems run in a second; a synthetic chest."""

from __future__ import annotations

import pytest
import torch

from covid_bert.networks import architectures
from covid_bert.networks.classifiers import ClipNetwork, EmbeddingMlp, StudyNetwork
from covid_bert.networks.density import EmbeddingDensity
from covid_bert.networks.r2plus1d import R2Plus1D
from covid_bert.networks.segmenter import SliceSegmenter
from covid_bert.networks.slice_network import SliceNetwork
from covid_bert.phantom import Phantom, make
from covid_bert.segmentation.loading import _cache as segmenters
from covid_bert.systems import loading
from covid_bert.weights import store

SIZE = 32


@pytest.fixture
def small_networks(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    # The weights that come with the program are of the real networks.
    nothing = tmp_path_factory.mktemp("nothing-shipped")
    monkeypatch.setattr(store, "shipped_root", lambda: nothing)
    small = {
        "r2plus1d34-bert": lambda: ClipNetwork(R2Plus1D((1, 1, 1, 1), (8, 8, 16, SIZE))),
        "study-bert": lambda: StudyNetwork(SIZE),
        "study-bert-gelu": lambda: StudyNetwork(SIZE, activation=torch.nn.GELU),
        "embedding-mlp-256": lambda: EmbeddingMlp(SIZE, 16),
        "efficientnet-b3": lambda: SliceNetwork("b0"),
        "r2plus1d18-narrow-bert": lambda: ClipNetwork(R2Plus1D((1, 1, 1, 1), (8, 8, 16, SIZE))),
        "study-bert-narrow": lambda: StudyNetwork(SIZE, activation=torch.nn.GELU),
        "embedding-mlp-narrow": lambda: EmbeddingMlp(SIZE, 16),
        "clip-density-narrow": lambda: EmbeddingDensity(SIZE),
        "lesion-segmenter": lambda: SliceSegmenter(4, 3, (4, 4, 4, 4, 4, 4)),
    }
    for name, maker in small.items():
        monkeypatch.setitem(architectures.ARCHITECTURES, name, maker)
    loading.forget_networks()
    segmenters.clear()
    yield
    loading.forget_networks()
    segmenters.clear()


@pytest.fixture(scope="session")
def phantom() -> Phantom:
    return make(shape=(80, 96, 96), spacing=(4.0, 3.6, 3.6), lesions="covid-like", seed=3)
