"""The shipped network of the method `unet`."""

from __future__ import annotations

import pytest
from chest_models import dice

from covid_bert import phantom
from covid_bert.lungs import LEFT_LUNG, RIGHT_LUNG, segment_lungs
from covid_bert.weights import store
from covid_bert.weights.location import shipped_root


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "lesions"), [(0, "none"), (1, "covid-like")])
def test_the_shipped_network_on_a_phantom(seed: int, lesions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "shipped_root", shipped_root)
    made = phantom.make(seed=seed, lesions=lesions)
    lungs = segment_lungs(made.volume, device="cpu")
    assert lungs.method == "unet"
    assert lungs.weights is not None
    assert lungs.weights.demonstration
    for side in (RIGHT_LUNG, LEFT_LUNG):
        assert dice(lungs.array == side, made.lungs.array == side) > 0.95
