"""Fixture: a lesion network whose answer is known, with installed weights, in place of the trained one."""

from __future__ import annotations

import pytest
import torch

from covid_bert.lesions import network
from covid_bert.networks.segmenter import SliceSegmenter
from covid_bert.segmentation.loading import LoadedSegmenter
from covid_bert.weights.identity import WeightsIdentity
from covid_bert.weights.installing import add_version
from covid_bert.weights.manifest import Provenance
from covid_bert.weights.registry import InputContract, OperatingPoint, Role
from covid_bert.weights.store import publish
from covid_bert.weights.version_folder import InstalledWeights

WINDOW = (-1000.0, 200.0)
# Between whole HU, so that no voxel lies on a limit.
GROUND_GLASS_FROM, CONSOLIDATION_FROM = -700.5, -250.5


class ByDensity(torch.nn.Module):
    """Names each pixel by the HU of the middle slab alone; keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[torch.Tensor] = []

    def forward(self, slabs: torch.Tensor) -> torch.Tensor:
        self.shown.append(slabs)
        hounsfield = (slabs[:, 1] + 1) / 2 * (WINDOW[1] - WINDOW[0]) + WINDOW[0]
        glass = (hounsfield - GROUND_GLASS_FROM) / 4
        return torch.stack((-glass, glass, glass + (hounsfield - CONSOLIDATION_FROM) / 4), dim=1)


def install_lesion_weights(*, threshold: float | None = None, demonstration: bool = True) -> InstalledWeights:
    """Install weights under the name that the product looks for, and publish them."""
    point = OperatingPoint(positive_class="lesion", threshold=threshold, chosen_by="a test") if threshold else None
    torch.manual_seed(0)
    version = add_version(
        network.WEIGHTS_NAME,
        SliceSegmenter(4, 3, (4, 4, 4, 4, 4, 4)).state_dict(),
        Provenance(
            architecture=network.ARCHITECTURE,
            role=Role.LESIONS,
            demonstration=demonstration,
            input=InputContract(window_hu=WINDOW),
            operating_point=point,
        ),
    )
    return publish(network.WEIGHTS_NAME, version.version)


@pytest.fixture
def lesions_by_density(monkeypatch: pytest.MonkeyPatch) -> ByDensity:
    module = ByDensity()

    def load(weights: InstalledWeights, architecture: str, device: str) -> LoadedSegmenter:
        return LoadedSegmenter(module, WeightsIdentity.of_manifest(weights.manifest), WINDOW, torch.device("cpu"))

    monkeypatch.setattr(network, "load_segmenter", load)
    install_lesion_weights()
    return module
