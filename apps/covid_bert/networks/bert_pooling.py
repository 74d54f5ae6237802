"""BERT pooling: a class token attends to a sequence of feature vectors and becomes their summary.

Source: Kalfaoglu et al. 2020 (late temporal modelling), class ``BERT5`` of the published code, as S1 and S2 use it:
pre-norm blocks, learned positions, tanh-GELU, dropout 0.1, and in training each token (never the class token) is
kept as a key with probability 0.8.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MASKED_SCORE = -1e9


class UnbiasedLayerNorm(nn.Module):
    """Layer norm that divides by (unbiased standard deviation + eps), as in the published code."""

    def __init__(self, size: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size))
        self.eps = eps

    def forward(self, features: Tensor) -> Tensor:
        """Normalise the last dimension."""
        mean = features.mean(-1, keepdim=True)
        deviation = features.std(-1, keepdim=True)
        return self.weight * (features - mean) / (deviation + self.eps) + self.bias


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention of several heads that also returns its weights."""

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        if size % heads:
            raise ValueError(f"{size} channels cannot be shared by {heads} heads.")
        self.heads = heads
        self.query = nn.Linear(size, size)
        self.key = nn.Linear(size, size)
        self.value = nn.Linear(size, size)
        self.output = nn.Linear(size, size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        """Attend from every token to the kept ones.

        Parameters
        ----------
        tokens
            (batch, tokens, channels).
        keep
            bool (batch, tokens): which tokens may be attended to.

        Returns
        -------
        attended
            (batch, tokens, channels).
        weights
            (batch, heads, tokens, tokens), rows sum to one.
        """
        batch, length, size = tokens.shape
        query, key, value = (
            projection(tokens).view(batch, length, self.heads, size // self.heads).transpose(1, 2)
            for projection in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(-2, -1) / math.sqrt(size // self.heads)
        weights = scores.masked_fill(~keep[:, None, None, :], MASKED_SCORE).softmax(-1)
        attended = self.dropout(weights) @ value
        return self.output(attended.transpose(1, 2).reshape(batch, length, size)), weights


class TransformerBlock(nn.Module):
    """Pre-norm attention and feed-forward layers with residuals, and one more dropout on the way out."""

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = UnbiasedLayerNorm(size)
        self.attention = MultiHeadAttention(size, heads, dropout)
        self.feed_forward_norm = UnbiasedLayerNorm(size)
        self.expand = nn.Linear(size, 4 * size)
        self.contract = nn.Linear(4 * size, size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, tokens, channels) to the same, with the attention weights."""
        attended, weights = self.attention(self.attention_norm(tokens), keep)
        tokens = tokens + self.dropout(attended)
        hidden = F.gelu(self.expand(self.feed_forward_norm(tokens)), approximate="tanh")
        tokens = tokens + self.dropout(self.contract(self.dropout(hidden)))
        return self.dropout(tokens), weights


class BertPooling(nn.Module):
    """Class token, learned positions and transformer blocks.

    Parameters
    ----------
    size
        Channels of a token.
    length
        Largest number of tokens (without the class token).
    layers, heads
        Transformer blocks and attention heads.
    dropout
        Of all dropouts.
    keep_probability
        Probability with which a token is kept as a key in training.
    """

    def __init__(
        self,
        size: int = 512,
        length: int = 4,
        layers: int = 1,
        heads: int = 8,
        dropout: float = 0.1,
        keep_probability: float = 0.8,
    ) -> None:
        super().__init__()
        self.keep_probability = keep_probability
        self.class_token = nn.Parameter(torch.empty(1, 1, size))
        self.positions = nn.Parameter(torch.empty(1, length + 1, size))
        nn.init.normal_(self.class_token, std=0.02)
        nn.init.normal_(self.positions, std=0.02)
        self.blocks = nn.ModuleList(TransformerBlock(size, heads, dropout) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pool a sequence.

        Parameters
        ----------
        tokens
            (batch, tokens, channels), at most `length` tokens.
        valid
            bool (batch, tokens): False for padding, which is never attended to; all valid when None.

        Returns
        -------
        embedding
            (batch, channels): the class token after the last block.
        attention
            (batch, tokens): how much the class token attends to each token in the last block, mean over the heads,
            scaled to sum to one over the tokens.
        """
        batch, length, _ = tokens.shape
        keep = torch.ones(batch, length + 1, dtype=torch.bool, device=tokens.device)
        if valid is not None:
            keep[:, 1:] = valid
        if self.training:
            keep[:, 1:] &= torch.rand(batch, length, device=tokens.device) < self.keep_probability
        sequence = torch.cat((self.class_token.expand(batch, -1, -1), tokens), dim=1)
        sequence = self.dropout(sequence + self.positions[:, : length + 1])
        for block in self.blocks:
            sequence, weights = block(sequence, keep)
        attention = weights[:, :, 0, 1:].mean(1)
        return sequence[:, 0], attention / attention.sum(1, keepdim=True).clamp_min(1e-12)
