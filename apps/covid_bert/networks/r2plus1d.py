"""R(2+1)D: a residual network whose 3-D convolutions are factorised into a spatial and a temporal one.

Source: Tran et al. 2018; the 34-layer variant is the IG65M one that S1 and S2 start from, whose convolutions each
choose their own number of intermediate channels (288, 576 and 1152 in the second convolution of the first block of
layers 2 to 4), unlike torchvision's, where both convolutions of a block share that of the first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

BLOCKS_34 = (3, 4, 6, 3)
BLOCKS_18 = (2, 2, 2, 2)
CHANNELS = (64, 128, 256, 512)
STEM_INTERMEDIATE_CHANNELS = 45


def intermediate_channels(in_channels: int, out_channels: int) -> int:
    """Channels between the two factors, so that they have as many parameters as the full 3x3x3 convolution."""
    return (in_channels * out_channels * 27) // (in_channels * 9 + 3 * out_channels)


class FactorisedConvolution(nn.Module):
    """Spatial convolution, batch norm, ReLU, temporal convolution, batch norm.

    Parameters
    ----------
    in_channels, between_channels, out_channels
        Channels before, between and after the two factors.
    spatial_kernel
        Side of the (odd) spatial kernel; the temporal one is 3.
    spatial_stride, temporal_stride
        Steps of the two factors.
    batch_norm_eps, batch_norm_momentum
        Of both batch norms; the published network has 1e-3 and 0.9 (in PyTorch's sense).
    """

    def __init__(
        self,
        in_channels: int,
        between_channels: int,
        out_channels: int,
        *,
        spatial_kernel: int = 3,
        spatial_stride: int = 1,
        temporal_stride: int = 1,
        batch_norm_eps: float = 1e-3,
        batch_norm_momentum: float = 0.1,
    ) -> None:
        super().__init__()
        self.spatial = nn.Conv3d(
            in_channels,
            between_channels,
            kernel_size=(1, spatial_kernel, spatial_kernel),
            stride=(1, spatial_stride, spatial_stride),
            padding=(0, spatial_kernel // 2, spatial_kernel // 2),
            bias=False,
        )
        self.spatial_norm = nn.BatchNorm3d(between_channels, eps=batch_norm_eps, momentum=batch_norm_momentum)
        self.temporal = nn.Conv3d(
            between_channels,
            out_channels,
            kernel_size=(3, 1, 1),
            stride=(temporal_stride, 1, 1),
            padding=(1, 0, 0),
            bias=False,
        )
        self.norm = nn.BatchNorm3d(out_channels, eps=batch_norm_eps, momentum=batch_norm_momentum)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, in_channels, time, rows, columns) to (batch, out_channels, time', rows', columns')."""
        return self.norm(self.temporal(torch.relu_(self.spatial_norm(self.spatial(features)))))


class ResidualBlock(nn.Module):
    """Two factorised convolutions and a shortcut, which is a strided 1x1x1 convolution where the shape changes."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        *,
        shared_intermediate_channels: bool,
        batch_norm_eps: float,
        batch_norm_momentum: float,
    ) -> None:
        super().__init__()
        first = intermediate_channels(in_channels, out_channels)
        second = first if shared_intermediate_channels else intermediate_channels(out_channels, out_channels)
        self.convolution1 = FactorisedConvolution(
            in_channels,
            first,
            out_channels,
            spatial_stride=stride,
            temporal_stride=stride,
            batch_norm_eps=batch_norm_eps,
            batch_norm_momentum=batch_norm_momentum,
        )
        self.convolution2 = FactorisedConvolution(
            out_channels,
            second,
            out_channels,
            batch_norm_eps=batch_norm_eps,
            batch_norm_momentum=batch_norm_momentum,
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv3d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm3d(out_channels, eps=batch_norm_eps, momentum=batch_norm_momentum),
            )

    def forward(self, features: Tensor) -> Tensor:
        """(batch, in_channels, t, h, w) to (batch, out_channels, t/stride, h/stride, w/stride)."""
        branch = self.convolution2(torch.relu_(self.convolution1(features)))
        return torch.relu_(branch.add_(self.shortcut(features)))


class R2Plus1D(nn.Module):
    """The trunk without its pooling and classifier.

    Parameters
    ----------
    blocks
        Residual blocks in each of the four layers: `BLOCKS_34` or `BLOCKS_18`.
    channels
        Channels of the four layers; narrower trunks divide them.
    stem_channels
        Channels between the two factors of the stem.
    shared_intermediate_channels
        True for torchvision's 18-layer checkpoints, False for the IG65M ones.
    batch_norm_eps, batch_norm_momentum
        See `FactorisedConvolution`.
    """

    def __init__(
        self,
        blocks: tuple[int, int, int, int] = BLOCKS_34,
        channels: tuple[int, int, int, int] = CHANNELS,
        *,
        stem_channels: int = STEM_INTERMEDIATE_CHANNELS,
        shared_intermediate_channels: bool = False,
        batch_norm_eps: float = 1e-3,
        batch_norm_momentum: float = 0.1,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.stem = FactorisedConvolution(
            3,
            stem_channels,
            channels[0],
            spatial_kernel=7,
            spatial_stride=2,
            batch_norm_eps=batch_norm_eps,
            batch_norm_momentum=batch_norm_momentum,
        )
        layers = []
        in_channels = channels[0]
        for index, (count, out_channels) in enumerate(zip(blocks, channels, strict=True)):
            strides = [1 if index == 0 else 2] + [1] * (count - 1)
            layer = nn.Sequential()
            for stride in strides:
                layer.append(
                    ResidualBlock(
                        in_channels,
                        out_channels,
                        stride,
                        shared_intermediate_channels=shared_intermediate_channels,
                        batch_norm_eps=batch_norm_eps,
                        batch_norm_momentum=batch_norm_momentum,
                    )
                )
                in_channels = out_channels
            layers.append(layer)
        self.layer1, self.layer2, self.layer3, self.layer4 = layers
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            # A residual branch that starts at zero keeps an untrained network's activations bounded.
            if isinstance(module, ResidualBlock):
                nn.init.zeros_(module.convolution2.norm.weight)

    def forward(self, clip: Tensor) -> Tensor:
        """Features of a clip.

        Parameters
        ----------
        clip
            (batch, 3, slices, rows, columns), normalised; slices, rows and columns at least 8, 16 and 16.

        Returns
        -------
        Tensor
            (batch, channels[3], slices / 8, rows / 16, columns / 16).
        """
        features = torch.relu_(self.stem(clip))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            features = layer(features)
        return features
