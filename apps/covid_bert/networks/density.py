"""How far a study lies from those that a classifier was trained on: a Gaussian of their embeddings."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

MOST_COMPONENTS = 24


class EmbeddingDensity(nn.Module):
    """Mahalanobis distance of an embedding, as a share of a limit. Fitted by `fit_density`; nothing in it is learned.

    Parameters
    ----------
    size
        Channels of an embedding.

    Notes
    -----
    After K. Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks"
    (NeurIPS 2018), with one Gaussian for all classes. The variance of the leading principal components is estimated
    one by one; what lies outside of them counts with one common variance.
    """

    mean: Tensor
    whitening: Tensor
    residual_deviation: Tensor
    threshold: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        # Rows are principal directions over their standard deviation; rows of zeros are not in use.
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("whitening", torch.zeros(min(MOST_COMPONENTS, size), size))
        self.register_buffer("residual_deviation", torch.ones(()))
        self.register_buffer("threshold", torch.ones(()))

    def distance(self, embeddings: Tensor) -> Tensor:
        """Distance of (batch, size) embeddings from the mean: (batch), about 1 or less for what it was fitted on."""
        centred = embeddings.float() - self.mean
        scores = centred @ self.whitening.T
        lengths = self.whitening.norm(dim=1)
        used = lengths > 0
        directions = self.whitening / lengths.clamp_min(1e-30)[:, None]
        residual = centred - (centred @ directions.T) @ directions
        free = max(self.mean.numel() - int(used.sum()), 1)
        total = scores.square().sum(1) + residual.square().sum(1) / self.residual_deviation.square()
        return (total / (int(used.sum()) + free)).sqrt()

    def forward(self, embeddings: Tensor) -> Tensor:
        """Score of (batch, size) embeddings: (batch), 0 or more; above 1 they lie beyond the limit."""
        return self.distance(embeddings) / self.threshold


def fit_density(embeddings: Tensor, *, shrinkage: float = 0.1) -> EmbeddingDensity:
    """Fit mean and whitening; the threshold stays 1.

    Parameters
    ----------
    embeddings
        (studies, size), at least two.
    shrinkage
        Share of the mean variance that is added to each variance, so that a direction in which a few training studies
        hardly differ does not rule by itself.

    Raises
    ------
    ValueError
        If there are fewer than two embeddings, or they are all the same or not finite.
    """
    if embeddings.ndim != 2 or len(embeddings) < 2 or not embeddings.isfinite().all():
        raise ValueError("A density needs finite embeddings of at least two studies.")
    samples = embeddings.double()
    mean = samples.mean(0)
    _, singular, directions = torch.linalg.svd(samples - mean, full_matrices=False)
    variances = singular.square() / (len(samples) - 1)
    size = samples.shape[1]
    total = float(variances.sum())
    if total <= 0:
        raise ValueError("The embeddings are all the same.")
    ridge = shrinkage * total / size
    density = EmbeddingDensity(size)
    used = min(len(density.whitening), len(variances) - 1, int((variances > 0).sum()))
    rest = float(variances[used:].sum()) / max(size - used, 1)
    density.mean.copy_(mean)
    density.whitening[:used] = (directions[:used] / (variances[:used] + ridge).sqrt()[:, None]).float()
    density.residual_deviation.fill_(math.sqrt(rest + ridge))
    return density.eval()
