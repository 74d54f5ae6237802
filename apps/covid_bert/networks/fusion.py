"""Batch norms folded into the convolutions before them: the same function, fewer passes over large activations."""

from __future__ import annotations

from typing import TypeVar

from monai.networks.blocks import Convolution
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from covid_bert.networks.r2plus1d import FactorisedConvolution, R2Plus1D, ResidualBlock
from covid_bert.networks.segmenter import SliceSegmenter

Network = TypeVar("Network", R2Plus1D, SliceSegmenter)


def fuse_batch_norms(network: Network) -> Network:
    """Fold all batch norms of a trunk or a segmenter, in place, for inference alone.

    Parameters
    ----------
    network
        In eval mode, in single precision: folding before a cast to bfloat16 also rounds less often.

    Returns
    -------
    Network
        The same network. It can no longer load a checkpoint or be trained.
    """
    for module in list(network.modules()):
        if isinstance(module, FactorisedConvolution):
            module.spatial = fuse_conv_bn_eval(module.spatial, module.spatial_norm)
            module.temporal = fuse_conv_bn_eval(module.temporal, module.norm)
            module.spatial_norm = module.norm = nn.Identity()  # type: ignore[assignment]
        elif isinstance(module, ResidualBlock) and isinstance(module.shortcut, nn.Sequential):
            convolution, norm = module.shortcut
            module.shortcut = fuse_conv_bn_eval(convolution, norm)  # type: ignore[type-var, arg-type]
        elif isinstance(module, Convolution):
            module.conv = fuse_conv_bn_eval(module.conv, module.adn.N)
            module.adn.N = nn.Identity()
    return network
