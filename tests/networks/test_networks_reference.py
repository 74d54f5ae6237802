"""Our networks against outputs of the authors' networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference import OUTPUTS, network_input, published_state

from covid_bert.errors import WeightsError
from covid_bert.networks.architectures import ARCHITECTURES
from covid_bert.networks.published_keys import convert, to_published

TOLERANCE = 1e-4


def relative_difference(ours: torch.Tensor, reference: np.ndarray) -> float:
    return float(np.abs(ours.numpy() - reference).max() / np.abs(reference).max())


def test_clip_network_equals_the_published_one_stage_by_stage() -> None:
    architecture, state = convert(published_state("clip_network"))
    assert architecture == "r2plus1d34-bert"
    network = ARCHITECTURES[architecture]().eval()
    network.load_state_dict(state)
    reference = np.load(OUTPUTS)
    with torch.no_grad():
        features = torch.relu(network.trunk.stem(network_input((1, 3, 32, 224, 224))))
        stages = [features]
        for layer in (network.trunk.layer1, network.trunk.layer2, network.trunk.layer3, network.trunk.layer4):
            stages.append(layer(stages[-1]))
            if len(stages) > 2:
                stages[-2] = None
            _check_stage(stages[-1], reference, len(stages) - 1)
        tokens = stages[-1].mean((-2, -1)).transpose(1, 2)
        output = network.pool(stages[-1])
    assert relative_difference(tokens, reference["clip_tokens"]) < TOLERANCE
    assert relative_difference(output.embedding, reference["clip_embedding"]) < TOLERANCE
    assert relative_difference(output.logits, reference["clip_logits"]) < TOLERANCE


def _check_stage(features: torch.Tensor, reference: np.lib.npyio.NpzFile, stage: int) -> None:
    assert list(features.shape) == list(reference[f"stage{stage}_shape"])
    assert float(features.mean()) == pytest.approx(float(reference[f"stage{stage}_mean"]), rel=TOLERANCE)
    # The reference's deviation may be the biased or the unbiased one: the same to within the tolerance here.
    assert float(features.std()) == pytest.approx(float(reference[f"stage{stage}_std"]), rel=TOLERANCE)


def test_study_network_equals_the_published_one() -> None:
    architecture, state = convert(published_state("study_network"))
    assert architecture == "study-bert"
    network = ARCHITECTURES[architecture]().eval()
    network.load_state_dict(state)
    reference = np.load(OUTPUTS)
    with torch.no_grad():
        output = network(network_input((2, 16, 512)))
    assert relative_difference(output.embedding, reference["study_embedding"]) < TOLERANCE
    assert relative_difference(output.logits, reference["study_logits"]) < TOLERANCE


@pytest.mark.parametrize("network", ["clip_network", "study_network"])
def test_key_map_is_its_own_inverse(network: str) -> None:
    published = published_state(network)
    architecture, state = convert(published)
    back = to_published(architecture, state)
    assert back.keys() == published.keys()
    assert all(torch.equal(back[key], published[key]) for key in published)


def test_trunk_checkpoints_are_recognised_and_lose_their_classifier() -> None:
    for architecture in ("r2plus1d34", "r2plus1d18"):
        module = ARCHITECTURES[architecture]()
        published = to_published(architecture, module.state_dict())
        published["fc.weight"] = torch.zeros(400, 512)
        name, state = convert(published)
        assert name == architecture
        module.load_state_dict(state)


def test_published_mlp_begins_with_a_flattening_layer() -> None:
    module = ARCHITECTURES["embedding-mlp-256"]()
    published = to_published("embedding-mlp-256", module.state_dict())
    assert sorted(published) == sorted(f"layers.{i}.{kind}" for i in (1, 4, 7) for kind in ("weight", "bias"))
    name, state = convert(published)
    assert name == "embedding-mlp-256"
    module.load_state_dict(state)


def test_unknown_layouts_are_refused_with_a_hint() -> None:
    with pytest.raises(WeightsError) as caught:
        convert({"conv1.weight": torch.zeros(1)})
    assert caught.value.hint
    state = published_state("study_network")
    state["bert.surprise"] = torch.zeros(1)
    with pytest.raises(WeightsError, match="surprise"):
        convert(state)
