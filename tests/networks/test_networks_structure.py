"""Parameter counts, shapes, masks and determinism of the networks."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import BasicUNet
from torch import nn

from covid_bert.networks.architectures import ARCHITECTURES
from covid_bert.networks.bert_pooling import BertPooling, UnbiasedLayerNorm
from covid_bert.networks.classifiers import CLASS_NAMES, ClipNetwork, EmbeddingMlp, StudyNetwork
from covid_bert.networks.fusion import fuse_batch_norms
from covid_bert.networks.r2plus1d import R2Plus1D
from covid_bert.networks.segmenter import SliceSegmenter
from covid_bert.networks.slice_network import SliceNetwork
from covid_bert.networks.unet import LungUNet


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def small_clip_network() -> ClipNetwork:
    return ClipNetwork(R2Plus1D((1, 1, 1, 1), (8, 8, 16, 32)), heads=4)


def test_published_parameter_counts() -> None:
    clip = ARCHITECTURES["r2plus1d34-bert"]()
    assert parameters(clip) == 66_648_457
    assert parameters(clip.trunk.stem) == 15_473
    assert [parameters(getattr(clip.trunk, f"layer{index}")) for index in (1, 2, 3, 4)] == [
        666_048,
        3_332_364,
        20_400_408,
        39_077_682,
    ]
    assert parameters(clip.bert) == 3_155_456
    assert parameters(clip.classifier) == 1_026
    study = ARCHITECTURES["study-bert"]()
    assert parameters(study) == 6_383_842
    assert parameters(study.bert) == 6_313_984
    assert parameters(ARCHITECTURES["study-bert-gelu"]()) == 6_383_842


def test_published_batch_norms() -> None:
    norms = [module for module in ARCHITECTURES["r2plus1d34-bert"]().modules() if isinstance(module, nn.BatchNorm3d)]
    assert len(norms) == 69
    assert {norm.eps for norm in norms} == {1e-3}


def test_intermediate_channels_of_the_checkpoints() -> None:
    large = ARCHITECTURES["r2plus1d34"]()
    assert [getattr(large, f"layer{layer}")[0].convolution2.spatial.out_channels for layer in (1, 2, 3, 4)] == [
        144,
        288,
        576,
        1152,
    ]
    assert large.layer2[0].convolution1.spatial.out_channels == 230
    small = ARCHITECTURES["r2plus1d18"]()
    assert small.layer2[0].convolution2.spatial.out_channels == 230


def test_clip_network_shapes_and_determinism() -> None:
    network = small_clip_network().eval()
    clips = torch.randn(2, 3, 32, 64, 64)
    with torch.no_grad():
        features = network.trunk(clips)
        first, second = network(clips), network(clips)
    assert features.shape == (2, 32, 4, 4, 4)
    assert first.logits.shape == (2, len(CLASS_NAMES))
    assert torch.equal(first.logits, second.logits)
    assert torch.allclose(first.attention.sum(1), torch.ones(2))


def test_layer_norm_divides_by_the_unbiased_deviation() -> None:
    norm = UnbiasedLayerNorm(3)
    normalised = norm(torch.tensor([[1.0, 2.0, 3.0]]))
    assert torch.allclose(normalised, torch.tensor([[-1.0, 0.0, 1.0]]) / (1 + 1e-6))


def test_training_mask_keeps_four_fifths_of_the_tokens_and_always_the_class_token() -> None:
    torch.manual_seed(0)
    pooling = BertPooling(8, 4, heads=2, dropout=0.0).train()
    kept = []
    original = pooling.blocks[0].forward

    def spy(sequence: torch.Tensor, keep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        kept.append(keep)
        return original(sequence, keep)

    pooling.blocks[0].forward = spy
    pooling(torch.zeros(10_000, 4, 8))
    assert kept[0][:, 0].all()
    assert float(kept[0][:, 1:].float().mean()) == pytest.approx(0.8, abs=0.01)
    kept.clear()
    pooling.eval()(torch.zeros(10, 4, 8))
    assert kept[0].all()


def test_masked_tokens_change_nothing() -> None:
    network = StudyNetwork(32, 6).eval()
    tokens = torch.randn(1, 6, 32)
    valid = torch.tensor([[True, True, True, False, False, False]])
    changed = tokens.clone()
    changed[:, 3:] = torch.randn(1, 3, 32) * 100
    with torch.no_grad():
        first, second = network(tokens, valid), network(changed, valid)
        unmasked = network(changed)
    assert torch.allclose(first.logits, second.logits, atol=1e-6)
    assert torch.allclose(first.attention[:, 3:], torch.zeros(1, 3))
    assert not torch.allclose(first.logits, unmasked.logits, atol=1e-4)


def test_order_of_segments_matters_to_the_study_network() -> None:
    network = StudyNetwork(32, 6).eval()
    tokens = torch.randn(1, 6, 32)
    with torch.no_grad():
        assert not torch.allclose(network(tokens).logits, network(tokens.flip(1)).logits, atol=1e-5)


def test_published_study_head_is_linear_and_corrected_is_not() -> None:
    for activation, linear in ((None, True), (nn.GELU, False)):
        network = StudyNetwork(32, 4, activation=activation).eval()
        first, second = torch.randn(2, 1, 32)

        def head(features: torch.Tensor, network: StudyNetwork = network) -> torch.Tensor:
            hidden = network.activation(network.linear1(features))
            return network.linear3(network.activation(network.linear2(hidden)))

        middle = head((first + second) / 2)
        assert torch.allclose(middle, (head(first) + head(second)) / 2, atol=1e-5) is linear


def test_mlp_does_not_depend_on_the_order_of_the_clips() -> None:
    mlp = EmbeddingMlp(16).eval()
    embeddings = torch.randn(5, 16)
    with torch.no_grad():
        assert torch.allclose(mlp(embeddings), mlp(embeddings.flip(0)), atol=1e-6)
    assert mlp(embeddings[:1]).shape == (2,)


def test_folded_batch_norms_change_nothing_but_the_time() -> None:
    trunk = R2Plus1D((1, 1, 2, 1), (8, 8, 16, 32)).eval()
    for module in trunk.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.normal_(module.weight, 1, 0.2)
            nn.init.normal_(module.bias, 0, 0.2)
            nn.init.normal_(module.running_mean, 0, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
    clips = torch.randn(1, 3, 16, 48, 48)
    with torch.no_grad():
        expected = trunk(clips)
        folded = fuse_batch_norms(trunk)(clips)
    assert not any(isinstance(module, nn.BatchNorm3d) for module in trunk.modules())
    assert torch.allclose(folded, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("features", [(16, 16, 32, 64, 128, 16), (8, 12, 24, 40, 64, 10)])
def test_segmenters_are_the_published_unet_and_print_nothing(features, capsys) -> None:
    network = SliceSegmenter(4, 3, features).eval()
    assert capsys.readouterr().out == ""
    act = ("LeakyReLU", {"negative_slope": 0.1, "inplace": True})
    reference = BasicUNet(2, 4, 3, features, act=act, norm="batch", bias=False).eval()
    reference.load_state_dict(network.state_dict())
    slabs = torch.randn(2, 4, 48, 32)
    with torch.no_grad():
        assert torch.equal(network(slabs), reference(slabs))


@pytest.mark.parametrize(("architecture", "channels"), [("lung-segmenter", 5), ("lesion-segmenter", 4)])
def test_segmenters_keep_the_grid_and_are_small(architecture, channels) -> None:
    network = ARCHITECTURES[architecture]().eval()
    with torch.no_grad():
        assert network(torch.randn(1, channels, 48, 32)).shape == (1, 3, 48, 32)
    assert parameters(network) < 2e6


def test_folded_batch_norms_of_a_segmenter_change_nothing_but_the_time() -> None:
    network = ARCHITECTURES["lesion-segmenter"]().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.2)
            nn.init.normal_(module.bias, 0, 0.2)
            nn.init.normal_(module.running_mean, 0, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
    slabs = torch.randn(2, 4, 64, 48)
    with torch.no_grad():
        expected = network(slabs)
        folded = fuse_batch_norms(network)(slabs)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert torch.allclose(folded, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_lung_unet_keeps_the_grid_and_its_published_size() -> None:
    network = LungUNet((4, 8, 16, 32, 64)).eval()
    with torch.no_grad():
        probability = network(torch.rand(2, 1, 64, 96))
    assert probability.shape == (2, 1, 64, 96)
    assert float(probability.min()) >= 0
    assert float(probability.max()) <= 1
    # 64-128-256-512-1024 channels, two 3x3 convolutions a level, transposed 3x3 convolutions, 1x1 output.
    levels = [(1, 64), (64, 128), (128, 256), (256, 512), (512, 1024)]
    expected = sum(9 * a * b + b + 9 * b * b + b for a, b in levels)
    expected += sum(9 * 2 * c * c + c + 9 * 2 * c * c + c + 9 * c * c + c for c in (64, 128, 256, 512))
    assert parameters(LungUNet()) == expected + 64 + 1


def test_slice_network_pools_its_own_features() -> None:
    network = SliceNetwork("b0").eval()
    slices = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        features = network.features(slices)
        assert features.shape[-2:] == (2, 2)
        assert torch.allclose(network(slices), network.classifier(network.trunk(slices)), atol=1e-5)
