"""The baseline's 2-D network: EfficientNet on single slices, MONAI's implementation."""

from __future__ import annotations

from monai.networks.nets import EfficientNet, EfficientNetBN
from torch import Tensor, nn

from covid_bert.networks.classifiers import CLASS_NAMES

# Table 1 of Tan and Le 2019 (arXiv 1905.11946), in MONAI's notation.
B0_BLOCKS = [
    "r1_k3_s11_e1_i32_o16_se0.25",
    "r2_k3_s22_e6_i16_o24_se0.25",
    "r2_k5_s22_e6_i24_o40_se0.25",
    "r3_k3_s22_e6_i40_o80_se0.25",
    "r3_k5_s11_e6_i80_o112_se0.25",
    "r4_k5_s22_e6_i112_o192_se0.25",
    "r1_k3_s11_e6_i192_o320_se0.25",
]


class SliceNetwork(nn.Module):
    """EfficientNet with a 224-channel embedding and a linear classifier (after the 2023 winners' EfficientNet-B3).

    Parameters
    ----------
    variant
        ``b0`` to ``b7``.
    width
        If given, B0 with this factor on all its channels takes the place of `variant`: below 1, a narrower network.
    """

    EMBEDDING_SIZE = 224

    def __init__(self, variant: str = "b3", *, width: float | None = None) -> None:
        super().__init__()
        common = {"spatial_dims": 2, "in_channels": 3, "num_classes": self.EMBEDDING_SIZE}
        if width is None:
            self.trunk = EfficientNetBN(f"efficientnet-{variant}", pretrained=False, **common)
        else:
            self.trunk = EfficientNet(B0_BLOCKS, width_coefficient=width, **common)
        self.classifier = nn.Linear(self.EMBEDDING_SIZE, len(CLASS_NAMES))

    def features(self, slices: Tensor) -> Tensor:
        """(batch, 3, rows, columns) to the last feature map (batch, channels, rows / 32, columns / 32)."""
        trunk = self.trunk
        features = trunk._swish(trunk._bn0(trunk._conv_stem(trunk._conv_stem_padding(slices))))
        features = trunk._blocks(features)
        return trunk._swish(trunk._bn1(trunk._conv_head(trunk._conv_head_padding(features))))

    def embed(self, features: Tensor) -> Tensor:
        """(batch, channels, rows, columns) feature map to (batch, 224) embeddings."""
        return self.trunk._fc(self.trunk._dropout(self.trunk._avg_pooling(features).flatten(1)))

    def pool(self, features: Tensor) -> Tensor:
        """(batch, channels, rows, columns) feature map to (batch, classes) logits."""
        return self.classifier(self.embed(features))

    def forward(self, slices: Tensor) -> Tensor:
        """Classify normalised slices (batch, 3, rows, columns): (batch, classes) logits."""
        return self.pool(self.features(slices))
