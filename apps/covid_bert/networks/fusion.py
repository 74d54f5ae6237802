"""Batch norms folded into the convolutions before them: the same function, fewer passes over large activations."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from covid_bert.networks.r2plus1d import FactorisedConvolution, R2Plus1D, ResidualBlock


def fuse_batch_norms(trunk: R2Plus1D) -> R2Plus1D:
    """Fold all batch norms of a trunk, in place, for inference alone.

    Parameters
    ----------
    trunk
        In eval mode, in single precision: folding before a cast to bfloat16 also rounds less often.

    Returns
    -------
    R2Plus1D
        The same trunk. It can no longer load a checkpoint or be trained.
    """
    for module in list(trunk.modules()):
        if isinstance(module, FactorisedConvolution):
            module.spatial = fuse_conv_bn_eval(module.spatial, module.spatial_norm)
            module.temporal = fuse_conv_bn_eval(module.temporal, module.norm)
            module.spatial_norm = module.norm = nn.Identity()  # type: ignore[assignment]
        elif isinstance(module, ResidualBlock) and isinstance(module.shortcut, nn.Sequential):
            convolution, norm = module.shortcut
            module.shortcut = fuse_conv_bn_eval(convolution, norm)  # type: ignore[type-var, arg-type]
    return trunk
