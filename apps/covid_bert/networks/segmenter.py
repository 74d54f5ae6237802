"""A small 2-D U-Net for working planes: the lung and the lesion segmenter.

The levels are those of MONAI's `BasicUNet` (Falk et al. 2019, doi 10.1038/s41592-018-0261-2), put together here from
MONAI's blocks, because that class prints to the standard output.
"""

from __future__ import annotations

from monai.networks.nets.basic_unet import Down, TwoConv, UpCat
from torch import Tensor, nn

_ACTIVATION = ("LeakyReLU", {"negative_slope": 0.1, "inplace": True})
_NORM = "batch"


class SliceSegmenter(nn.Module):
    """U-Net of five levels with batch norm; its state dict is that of ``BasicUNet(spatial_dims=2, bias=False)``.

    Parameters
    ----------
    in_channels
        A slab and its neighbours, and masks if any.
    out_channels
        Classes, the background included.
    features
        Channels of the five levels, finest first, and after the last upsampling.
    """

    def __init__(self, in_channels: int, out_channels: int, features: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        level0, level1, level2, level3, level4, last = features
        common = {"spatial_dims": 2, "act": _ACTIVATION, "norm": _NORM, "bias": False}
        self.conv_0 = TwoConv(in_chns=in_channels, out_chns=level0, **common)
        self.down_1 = Down(in_chns=level0, out_chns=level1, **common)
        self.down_2 = Down(in_chns=level1, out_chns=level2, **common)
        self.down_3 = Down(in_chns=level2, out_chns=level3, **common)
        self.down_4 = Down(in_chns=level3, out_chns=level4, **common)
        self.upcat_4 = UpCat(in_chns=level4, cat_chns=level3, out_chns=level3, **common)
        self.upcat_3 = UpCat(in_chns=level3, cat_chns=level2, out_chns=level2, **common)
        self.upcat_2 = UpCat(in_chns=level2, cat_chns=level1, out_chns=level1, **common)
        self.upcat_1 = UpCat(in_chns=level1, cat_chns=level0, out_chns=last, halves=False, **common)
        self.final_conv = nn.Conv2d(last, out_channels, kernel_size=1)

    def forward(self, slabs: Tensor) -> Tensor:
        """Segment slabs.

        Parameters
        ----------
        slabs
            (batch, in_channels, rows, columns), HU scaled to [-1, 1]; rows and columns are multiples of 16.

        Returns
        -------
        Tensor
            (batch, out_channels, rows, columns) logits.
        """
        features0 = self.conv_0(slabs)
        features1 = self.down_1(features0)
        features2 = self.down_2(features1)
        features3 = self.down_3(features2)
        features = self.upcat_4(self.down_4(features3), features3)
        features = self.upcat_3(features, features2)
        features = self.upcat_2(features, features1)
        return self.final_conv(self.upcat_1(features, features0))
