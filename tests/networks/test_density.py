"""The density of training embeddings: distances, limit, bad input."""

from __future__ import annotations

import pytest
import torch

from covid_bert.networks.density import EmbeddingDensity, fit_density


def embeddings(studies: int, size: int = 16, seed: int = 0) -> torch.Tensor:
    """Correlated, of very different variances."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(size, size, generator=torch.Generator().manual_seed(99)) * torch.logspace(0, -2, size)
    return torch.randn(studies, size, generator=generator) @ mixing.T + 3.0


def test_training_studies_lie_within_about_one_and_strange_ones_far_off() -> None:
    density = fit_density(embeddings(400))
    near, far = density(embeddings(200, seed=1)), density(embeddings(200, seed=1) + 20)
    assert 0.3 < near.square().mean().sqrt() < 1.1
    assert far.min() > 3 * near.max()


def test_a_direction_that_training_never_took_counts() -> None:
    flat = embeddings(300)
    flat[:, 0] = 1.0
    density = fit_density(flat)
    strange = flat[:1].clone()
    strange[0, 0] += 10.0
    assert density(strange) > 2 * density(flat).max()


def test_the_score_is_the_distance_relative_to_the_threshold() -> None:
    density = fit_density(embeddings(100))
    samples = embeddings(5, seed=2)
    before = density(samples)
    density.threshold.fill_(4.0)
    assert torch.allclose(density(samples), before / 4)


def test_more_channels_than_studies_and_back_from_a_state_dict() -> None:
    density = fit_density(embeddings(6, size=64))
    assert torch.isfinite(density(embeddings(3, size=64, seed=1))).all()
    other = EmbeddingDensity(64)
    other.load_state_dict(density.state_dict())
    samples = embeddings(3, size=64, seed=3)
    assert torch.equal(other(samples), density(samples))


@pytest.mark.parametrize("samples", [torch.zeros(1, 4), torch.ones(5, 4), torch.full((5, 4), torch.nan)])
def test_embeddings_without_any_spread_are_refused(samples: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="embeddings"):
        fit_density(samples)
