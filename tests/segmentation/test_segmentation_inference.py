"""Slab-wise inference: neighbours as channels, scaling, and softmax in batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from covid_bert.errors import CancelledError, ParameterError
from covid_bert.segmentation import input_channels, predict, scale


class Sum(nn.Module):
    """Logits 0 and the sum over the channels."""

    def forward(self, slabs: torch.Tensor) -> torch.Tensor:
        total = slabs.sum(1, keepdim=True)
        return torch.cat([torch.zeros_like(total), total], dim=1)


@pytest.fixture
def planes() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(5, 16, 32)).astype(np.float32)


def test_scaling_to_the_window() -> None:
    scaled = scale(np.array([-2000, -1024, -312, 400, 3000], np.int16), (-1024.0, 400.0))
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, [-1, -1, 0, 1, 1], atol=1e-6)
    with pytest.raises(ParameterError):
        scale(np.zeros(3, np.float32), (100.0, 100.0))


def test_neighbours_are_channels_and_edges_are_repeated(planes) -> None:
    stacked = input_channels(planes, 1, np.array([0, 2, 4]))
    assert stacked.shape == (3, 3, 16, 32)
    np.testing.assert_array_equal(stacked[0], planes[[0, 0, 1]])
    np.testing.assert_array_equal(stacked[1], planes[[1, 2, 3]])
    np.testing.assert_array_equal(stacked[2], planes[[3, 4, 4]])
    np.testing.assert_array_equal(input_channels(planes[:1], 2, np.array([0])), planes[[[0] * 5]])


def test_an_extra_channel_comes_last_and_alone(planes) -> None:
    extra = np.random.default_rng(1).random(planes.shape).astype(np.float32)
    stacked = input_channels(planes, 1, np.array([3]), extra=extra)
    assert stacked.shape == (1, 4, 16, 32)
    np.testing.assert_array_equal(stacked[0], np.stack([*planes[2:5], extra[3]]))


def test_input_that_does_not_fit_is_refused(planes) -> None:
    with pytest.raises(ParameterError):
        input_channels(planes, -1, np.array([0]))
    with pytest.raises(ParameterError):
        input_channels(planes, 1, np.array([0]), extra=planes[:, :8])


@pytest.mark.parametrize("batch", [1, 2, 5, 16])
@pytest.mark.parametrize("context", [0, 1])
def test_probabilities_do_not_depend_on_the_batch(planes, batch, context) -> None:
    found = predict(Sum(), planes, context=context, batch=batch)
    neighbours = np.pad(planes, ((context, context), (0, 0), (0, 0)), mode="edge")
    total = sum(neighbours[shift : shift + 5] for shift in range(2 * context + 1))
    assert found.shape == (2, 5, 16, 32)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[1], 1 / (1 + np.exp(-total)), atol=1e-5)
    np.testing.assert_allclose(found.sum(0), 1.0, atol=1e-6)


def test_half_precision_reaches_the_module(planes) -> None:
    found = predict(Sum(), planes, dtype=torch.bfloat16)
    np.testing.assert_allclose(found[1], 1 / (1 + np.exp(-planes)), atol=0.02)


def test_progress_is_told_and_may_cancel(planes) -> None:
    told: list[float] = []
    predict(Sum(), planes, batch=2, on_progress=told.append)
    assert told == [0.0, 0.4, 0.8, 1.0]

    def cancel(fraction: float) -> None:
        if fraction > 0.3:
            raise CancelledError("cancelled")

    with pytest.raises(CancelledError):
        predict(Sum(), planes, batch=2, on_progress=cancel)


def test_nothing_to_predict_is_refused(planes) -> None:
    with pytest.raises(ParameterError):
        predict(Sum(), planes[:0])
    with pytest.raises(ParameterError):
        predict(Sum(), planes, batch=0)
