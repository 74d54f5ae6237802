"""The baseline's 2-D network: EfficientNet on single slices, MONAI's implementation."""

from __future__ import annotations

from monai.networks.nets import EfficientNetBN
from torch import Tensor, nn

from covid_bert.networks.classifiers import CLASS_NAMES


class SliceNetwork(nn.Module):
    """EfficientNet with a 224-channel embedding and a linear classifier (after the 2023 winners' EfficientNet-B3).

    Parameters
    ----------
    variant
        ``b0`` to ``b7``.
    """

    EMBEDDING_SIZE = 224

    def __init__(self, variant: str = "b3") -> None:
        super().__init__()
        self.trunk = EfficientNetBN(
            f"efficientnet-{variant}",
            pretrained=False,
            spatial_dims=2,
            in_channels=3,
            num_classes=self.EMBEDDING_SIZE,
        )
        self.classifier = nn.Linear(self.EMBEDDING_SIZE, len(CLASS_NAMES))

    def features(self, slices: Tensor) -> Tensor:
        """(batch, 3, rows, columns) to the last feature map (batch, channels, rows / 32, columns / 32)."""
        trunk = self.trunk
        features = trunk._swish(trunk._bn0(trunk._conv_stem(trunk._conv_stem_padding(slices))))
        features = trunk._blocks(features)
        return trunk._swish(trunk._bn1(trunk._conv_head(trunk._conv_head_padding(features))))

    def pool(self, features: Tensor) -> Tensor:
        """(batch, channels, rows, columns) feature map to (batch, classes) logits."""
        pooled = self.trunk._dropout(self.trunk._avg_pooling(features).flatten(1))
        return self.classifier(self.trunk._fc(pooled))

    def forward(self, slices: Tensor) -> Tensor:
        """Classify normalised slices (batch, 3, rows, columns): (batch, classes) logits."""
        return self.pool(self.features(slices))
