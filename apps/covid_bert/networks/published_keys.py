"""The key map between the authors' checkpoints and our modules, both ways.

Each rule is a pair of beginnings of keys; ``{a}`` and ``{b}`` stand for numbers. The published clip network keeps its
trunk in one ``nn.Sequential`` (``features.0`` is the stem, ``features.1`` to ``features.4`` the layers); IG65M's and
torchvision's trunk checkpoints name the same parts ``stem`` and ``layer1`` to ``layer4`` and end in a classifier
(``fc``) that the systems do not use.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from covid_bert.errors import WeightsError

# Inside a residual block (published on the left).
_BLOCK_RULES = (
    ("conv{a}.0.0.", "convolution{a}.spatial."),
    ("conv{a}.0.1.", "convolution{a}.spatial_norm."),
    ("conv{a}.0.3.", "convolution{a}.temporal."),
    ("conv{a}.1.", "convolution{a}.norm."),
    ("downsample.", "shortcut."),
)
_STEM_RULES = (("0.", "spatial."), ("1.", "spatial_norm."), ("3.", "temporal."), ("4.", "norm."))
_BERT_RULES = (
    ("bert.clsToken", "bert.class_token"),
    ("bert.embedding.learnedPosition.pe", "bert.positions"),
    ("bert.transformer_blocks.{a}.attention.linear_layers.0.", "bert.blocks.{a}.attention.query."),
    ("bert.transformer_blocks.{a}.attention.linear_layers.1.", "bert.blocks.{a}.attention.key."),
    ("bert.transformer_blocks.{a}.attention.linear_layers.2.", "bert.blocks.{a}.attention.value."),
    ("bert.transformer_blocks.{a}.attention.output_linear.", "bert.blocks.{a}.attention.output."),
    ("bert.transformer_blocks.{a}.feed_forward.w_1.", "bert.blocks.{a}.expand."),
    ("bert.transformer_blocks.{a}.feed_forward.w_2.", "bert.blocks.{a}.contract."),
    ("bert.transformer_blocks.{a}.input_sublayer.norm.a_2", "bert.blocks.{a}.attention_norm.weight"),
    ("bert.transformer_blocks.{a}.input_sublayer.norm.b_2", "bert.blocks.{a}.attention_norm.bias"),
    ("bert.transformer_blocks.{a}.output_sublayer.norm.a_2", "bert.blocks.{a}.feed_forward_norm.weight"),
    ("bert.transformer_blocks.{a}.output_sublayer.norm.b_2", "bert.blocks.{a}.feed_forward_norm.bias"),
)


def _trunk_rules(stem: str, layer: str, first_layer: int, target: str) -> list[tuple[str, str]]:
    rules = [(f"{stem}.{published}", f"{target}stem.{ours}") for published, ours in _STEM_RULES]
    for index in range(4):
        prefix = f"{layer}{first_layer + index}." + "{b}."
        rules += [
            (prefix + published, f"{target}layer{index + 1}." + "{b}." + ours) for published, ours in _BLOCK_RULES
        ]
    return rules


RULES: dict[str, list[tuple[str, str]]] = {
    "r2plus1d34-bert": [
        *_trunk_rules("features.0", "features.", 1, "trunk."),
        *_BERT_RULES,
        ("fc_action.", "classifier."),
    ],
    "study-bert": [
        *_BERT_RULES,
        ("fc_action.", "linear1."),
        ("fc_action1.", "linear2."),
        ("fc_action2.", "linear3."),
    ],
    # The published MLP begins with a layer that only flattens.
    "embedding-mlp-256": [("layers.1.", "layers.0."), ("layers.4.", "layers.3."), ("layers.7.", "layers.6.")],
    "r2plus1d34": _trunk_rules("stem", "layer", 1, ""),
}
RULES["r2plus1d18"] = RULES["r2plus1d34"]

# Trunk checkpoints carry a classifier for the classes of the video sets.
_IGNORED = {"r2plus1d34": ("fc.",), "r2plus1d18": ("fc.",)}


_MLP_KEYS = {f"layers.{layer}.{kind}" for layer in (1, 4, 7) for kind in ("weight", "bias")}


def recognise(keys: Mapping[str, object]) -> str:
    """Name the architecture whose published layout `keys` have.

    Raises
    ------
    WeightsError
        If they are of none.
    """
    if "features.0.0.weight" in keys and "bert.clsToken" in keys:
        return "r2plus1d34-bert"
    if "fc_action2.weight" in keys and "bert.clsToken" in keys:
        return "study-bert"
    if set(keys) == _MLP_KEYS:
        return "embedding-mlp-256"
    if "stem.0.weight" in keys and "layer4.0.conv1.0.0.weight" in keys:
        return "r2plus1d34" if "layer3.5.conv1.0.0.weight" in keys else "r2plus1d18"
    raise WeightsError(
        "The checkpoint is not of a network that is known here.",
        "Known are the clip network, study network and MLP of S1 and S2, and R(2+1)D trunks of IG65M and Kinetics.",
        first_keys=list(keys)[:5],
    )


def convert(state_dict: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """Translate a published state dict.

    Parameters
    ----------
    state_dict
        As in the authors' checkpoint, already without ``state_dict`` nesting and ``module.`` prefix.

    Returns
    -------
    architecture
        A key of `covid_bert.networks.architectures.ARCHITECTURES`.
    state_dict
        The same tensors under our keys.

    Raises
    ------
    WeightsError
        If the layout is not known, or a key of it has no counterpart.
    """
    architecture = recognise(state_dict)
    ignored = _IGNORED.get(architecture, ())
    return architecture, {
        _rename(key, RULES[architecture]): value for key, value in state_dict.items() if not key.startswith(ignored)
    }


def to_published(architecture: str, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Translate our state dict of `architecture` into the authors' layout: the inverse of `convert`."""
    rules = [(ours, published) for published, ours in RULES[architecture]]
    return {_rename(key, rules): value for key, value in state_dict.items()}


def _rename(key: str, rules: list[tuple[str, str]]) -> str:
    for source, target in rules:
        pattern = re.escape(source).replace(r"\{a\}", r"(?P<a>\d+)").replace(r"\{b\}", r"(?P<b>\d+)")
        match = re.match(pattern, key)
        if match:
            return target.format(**match.groupdict()) + key[match.end() :]
    raise WeightsError(f"The checkpoint has a key that the key map does not know: {key}.", "Is it of another version?")
