"""The classifiers of S1 and S2: clip network, study network and MLP. Logits are in the order of `CLASS_NAMES`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from covid_bert.networks.bert_pooling import BertPooling
from covid_bert.networks.r2plus1d import R2Plus1D

# The order of the authors' code, where class 0 is COVID-19; everything else goes by name.
CLASS_NAMES = ("covid", "non-covid")


@dataclass(frozen=True)
class ClipOutput:
    """What the clip network says of a batch of clips.

    Parameters
    ----------
    logits
        (batch, classes).
    embedding
        (batch, channels): the class token after BERT pooling.
    attention
        (batch, tokens): attention of the class token to the temporal tokens, summing to one.
    """

    logits: Tensor
    embedding: Tensor
    attention: Tensor


class ClipNetwork(nn.Module):
    """3-D CNN with BERT pooling on one clip of slices (S2 section 4.1; papers' ``rgb_r2plus1d_32f_34_bert10``).

    Parameters
    ----------
    trunk
        Gives (batch, channels, time, rows, columns).
    tokens
        Time steps after the trunk: slices of a clip / 8.
    heads
        Attention heads of the one-layer BERT.
    dropout
        Before the classifier; 0.8 as published.
    """

    def __init__(self, trunk: R2Plus1D, *, tokens: int = 4, heads: int = 8, dropout: float = 0.8) -> None:
        super().__init__()
        size = trunk.channels[-1]
        self.trunk = trunk
        self.bert = BertPooling(size, tokens, layers=1, heads=heads)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(size, len(CLASS_NAMES))
        nn.init.xavier_uniform_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def pool(self, features: Tensor) -> ClipOutput:
        """Pool the trunk's (batch, channels, time, rows, columns) features and classify."""
        tokens = features.mean((-2, -1)).transpose(1, 2)
        # The pooling stays in single precision whatever the trunk runs in: it is small, and its softmax is not.
        embedding, attention = self.bert(tokens.float())
        return ClipOutput(self.classifier(self.dropout(embedding)), embedding, attention)

    def forward(self, clips: Tensor) -> ClipOutput:
        """Classify normalised clips (batch, 3, slices, rows, columns)."""
        return self.pool(self.trunk(clips))


class StudyNetwork(nn.Module):
    """BERT over the segments of a study (S1; papers' ``feature_bert10``).

    Parameters
    ----------
    size
        Channels of a clip embedding.
    segments
        Largest number of tokens.
    activation
        Between the linear layers of the head: None as published (the head is then a linear map), GELU corrected.
    dropout
        Before each linear layer of the head; 0.7 as published.
    """

    def __init__(
        self,
        size: int = 512,
        segments: int = 16,
        *,
        activation: type[nn.Module] | None = None,
        dropout: float = 0.7,
    ) -> None:
        super().__init__()
        self.segments = segments
        self.bert = BertPooling(size, segments, layers=2, heads=4)
        self.linear1 = nn.Linear(size, 128)
        self.linear2 = nn.Linear(128, 32)
        self.linear3 = nn.Linear(32, len(CLASS_NAMES))
        for linear in (self.linear1, self.linear2, self.linear3):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        self.activation = activation() if activation is not None else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def forward(self, segments: Tensor, valid: Tensor | None = None) -> ClipOutput:
        """Classify studies.

        Parameters
        ----------
        segments
            (batch, segments, size) clip embeddings.
        valid
            bool (batch, segments): False for padding; all valid when None.
        """
        embedding, attention = self.bert(segments, valid)
        hidden = self.activation(self.linear1(self.dropout(embedding)))
        hidden = self.activation(self.linear2(self.dropout(hidden)))
        return ClipOutput(self.linear3(self.dropout(hidden)), embedding, attention)


class EmbeddingMlp(nn.Module):
    """MLP on the pooled clip embeddings of a study (S2 section 4.2).

    Parameters
    ----------
    size
        Channels of a clip embedding; the input is maximum and mean, so twice as many.
    hidden
        Width of the first layer: 128 in the paper, 256 in the published code.
    """

    def __init__(self, size: int = 512, hidden: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * size, hidden),
            nn.Sigmoid(),
            nn.Dropout(0.5),
            nn.Linear(hidden, 32),
            nn.Sigmoid(),
            nn.Dropout(0.5),
            nn.Linear(32, len(CLASS_NAMES)),
        )

    def forward(self, embeddings: Tensor) -> Tensor:
        """(clips, size) embeddings of one study to (classes) logits."""
        pooled = torch.cat((embeddings.max(0).values, embeddings.mean(0)))
        return self.layers(pooled)
