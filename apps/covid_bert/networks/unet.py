"""The 2-D lung U-Net of S2 (section 3.2 and the published segmentation code), in PyTorch."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

CHANNELS = (64, 128, 256, 512, 1024)


def _double_convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, 3, padding=1),
        nn.ReLU(inplace=True),
    )


class LungUNet(nn.Module):
    """U-Net with transposed 3x3 convolutions of stride 2, skips, and dropout 0.5 at the bottleneck.

    Parameters
    ----------
    channels
        Of the five levels, finest first.
    """

    def __init__(self, channels: tuple[int, ...] = CHANNELS) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(
            _double_convolution(before, after) for before, after in zip((1, *channels[:-1]), channels, strict=True)
        )
        self.dropout = nn.Dropout(0.5)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(after, before, 3, stride=2, padding=1, output_padding=1)
            for before, after in pairwise(channels)
        )
        self.decoder = nn.ModuleList(_double_convolution(2 * before, before) for before in channels[:-1])
        self.output = nn.Conv2d(channels[0], 1, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, slices: Tensor) -> Tensor:
        """Lung probability.

        Parameters
        ----------
        slices
            (batch, 1, rows, columns), gray levels scaled to [0, 1]; rows and columns are multiples of 16.

        Returns
        -------
        Tensor
            (batch, 1, rows, columns) in [0, 1].
        """
        skips: list[Tensor] = []
        features = slices
        for index, level in enumerate(self.encoder):
            features = level(features)
            if index < len(self.encoder) - 1:
                skips.append(features)
                features = nn.functional.max_pool2d(features, 2)
        features = self.dropout(features)
        for up, decoder, skip in zip(reversed(self.up), reversed(self.decoder), reversed(skips), strict=True):
            features = decoder(torch.cat((skip, up(features)), dim=1))
        return torch.sigmoid(self.output(features))
