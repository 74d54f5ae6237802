"""R231 with random weights: that it runs and keeps the geometry, not how good it is."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from chest_models import Chest, make_volume

from covid_bert.errors import CancelledError, InputError, MissingProgramError, ParameterError, WeightsError
from covid_bert.lungs import segment_lungs
from covid_bert.progress import Progress
from covid_bert.volumes.volume import Unit, Volume
from covid_bert.weights.installing import add_version
from covid_bert.weights.manifest import Provenance
from covid_bert.weights.registry import Role
from covid_bert.weights.store import InstalledWeights, publish
from needed import require_module


@pytest.fixture
def volume(chest: Chest) -> Volume:
    return make_volume(chest.array[38:41], chest.grid.spacing)


def _network() -> torch.nn.Module:
    resunet = require_module("lungmask.resunet", "pip install 'covid-bert[lungmask]'")
    torch.manual_seed(0)
    return resunet.UNet(n_classes=3, padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False)


def _always(label: int) -> dict[str, torch.Tensor]:
    """Weights that give every pixel the same label."""
    state = _network().state_dict()
    state["last.weight"].zero_()
    state["last.bias"].copy_(torch.nn.functional.one_hot(torch.tensor(label), 3) * 9.0)
    return state


def _install(state: dict[str, torch.Tensor]) -> InstalledWeights:
    provenance = Provenance(architecture="lungmask-r231", role=Role.LUNGS, trained_on="nothing")
    return publish("lungmask-r231", add_version("lungmask-r231", state, provenance).version)


@pytest.mark.parametrize("label", [1, 2])
def test_labels_and_geometry(volume: Volume, label: int) -> None:
    weights = _install(_always(label))
    lungs = segment_lungs(volume, "r231")
    assert lungs.method == "r231"
    assert lungs.weights is not None
    assert (lungs.weights.name, lungs.weights.sha256) == ("lungmask-r231", weights.sha256)
    assert lungs.array.shape == volume.shape
    assert set(np.unique(lungs.array)) == {0, label}
    # lungmask crops each slice to the body: the corners stay empty, the middle does not.
    assert not lungs.array[:, [0, 0, -1, -1], [0, -1, 0, -1]].any()
    middle = tuple(size // 2 for size in volume.shape)
    assert lungs.array[middle] == label


def test_same_mask_as_the_package_itself(volume: Volume, tmp_path: Path) -> None:
    lungmask = require_module("lungmask", "pip install 'covid-bert[lungmask]'")
    utils = require_module("lungmask.utils", "pip install 'covid-bert[lungmask]'")
    network = _network().eval()
    inputs, _ = utils.preprocess(volume.array, resolution=[256, 256])
    with torch.inference_mode():
        scaled = (torch.as_tensor(inputs[:, None], dtype=torch.float32).clamp(max=600) + 1024) / 1624
        logits = network(scaled)
    # Untrained, one class wins everywhere; shifted by the mean, each class wins somewhere.
    network.last.bias.data -= logits.mean(dim=(0, 2, 3))
    path = tmp_path / "random.pth"
    torch.save(network.state_dict(), path)
    _install(network.state_dict())
    seen: list[float] = []
    progress = Progress(lambda _stage, fraction: seen.append(fraction))
    lungs = segment_lungs(volume, "r231", progress, device="cpu")
    expected = lungmask.LMInferer(modelpath=str(path), force_cpu=True, tqdm_disable=True).apply(volume.array.copy())
    np.testing.assert_array_equal(lungs.array, expected)
    assert set(np.unique(lungs.array)) == {0, 1, 2}
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_cancel(volume: Volume) -> None:
    progress = Progress()
    progress.cancel()
    with pytest.raises(CancelledError):
        segment_lungs(volume, "r231", progress)


def test_missing_weights(volume: Volume) -> None:
    require_module("lungmask", "pip install 'covid-bert[lungmask]'")
    with pytest.raises(WeightsError, match="not installed") as caught:
        segment_lungs(volume, "r231")
    assert "covid-bert weights fetch lungmask-r231" in caught.value.hint


def test_damaged_weights(volume: Volume, tmp_path: Path) -> None:
    path = _install(_always(1)).path
    content = bytearray(path.read_bytes())
    content[-5] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        segment_lungs(volume, "r231")
    assert str(tmp_path) not in str(caught.value)


def test_weights_of_another_network(volume: Volume) -> None:
    require_module("lungmask", "pip install 'covid-bert[lungmask]'")
    _install({"weight": torch.zeros(3)})
    with pytest.raises(WeightsError):
        segment_lungs(volume, "r231")


def test_a_device_that_is_not_there_is_refused(volume: Volume) -> None:
    _install(_always(1))
    with pytest.raises(ParameterError):
        segment_lungs(volume, "r231", device="cuda:99")


def test_package_missing(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lungmask", None)
    monkeypatch.setitem(sys.modules, "lungmask.resunet", None)
    with pytest.raises(MissingProgramError, match="lungmask"):
        segment_lungs(volume, "r231")


def test_gray_levels_are_refused() -> None:
    with pytest.raises(InputError, match="Hounsfield"):
        segment_lungs(make_volume(np.zeros((2, 8, 8), np.uint8), unit=Unit.GRAY8), "r231")
