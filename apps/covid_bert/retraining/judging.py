"""How one version of the lung network does on studies with known masks, as the network is used."""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt
from torch import nn

from covid_bert.errors import NotChestError
from covid_bert.evaluation.metrics import dice
from covid_bert.lungs import unet
from covid_bert.lungs.mask import LEFT_LUNG, RIGHT_LUNG
from covid_bert.networks.devices import choose_device
from covid_bert.segmentation import LoadedSegmenter
from covid_bert.segmentation.loading import ready_segmenter
from covid_bert.volumes.volume import Volume
from covid_bert.weights.identity import WeightsIdentity

Mask = npt.NDArray[np.uint8]


def candidate_segmenter(module: nn.Module, window_hu: tuple[float, float], device: str = "cpu") -> LoadedSegmenter:
    """Make a lung network that is not installed ready for inference, as installed ones are.

    Parameters
    ----------
    module
        A trained ``lung-segmenter``; not changed.
    window_hu
        HU that become -1 and 1 in its input.
    device
        See `covid_bert.networks.devices.choose_device`.
    """
    place = choose_device(device)
    identity = WeightsIdentity.of_untrained(unet.ARCHITECTURE, 0, module.state_dict())
    return ready_segmenter(copy.deepcopy(module).eval(), identity, window_hu, place)


def found_lungs(segmenter: LoadedSegmenter, volume: Volume) -> Mask:
    """What a version finds: 1 right, 2 left lung on the volume's grid; nothing where that cannot be lungs.

    Parameters
    ----------
    segmenter
        The version.
    volume
        In HU, with known voxel size.
    """
    try:
        return unet.segment(volume, segmenter=segmenter).array
    except NotChestError:
        return np.zeros(volume.shape, np.uint8)


def mean_dice(found: Mask, lungs: Mask) -> float:
    """Mean Dice of right and left lung in [0, 1], of two masks (slices, rows, columns): 1 right, 2 left.

    A side that is in neither of them is one that they agree on.
    """
    sides = [dice(found == side, lungs == side) for side in (RIGHT_LUNG, LEFT_LUNG)]
    return float(np.mean([1.0 if side is None else side for side in sides]))
