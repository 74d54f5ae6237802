"""`LesionMask`: ground-glass and consolidation on the grid of the volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from covid_bert.weights.identity import WeightsIdentity

GROUND_GLASS = 1
CONSOLIDATION = 2
LESION_LABELS = {"ground-glass": GROUND_GLASS, "consolidation": CONSOLIDATION}


@dataclass(frozen=True, eq=False)
class LesionMask:
    """Lesion labels of one volume.

    Parameters
    ----------
    array
        uint8 (slices, rows, columns) on the volume's canonical grid: 0 none, 1 ground-glass, 2 consolidation; 0 outside
        the lungs.
    probability
        uint8 on the same grid, 0 ... 255 for [0, 1]: that a voxel is ground-glass or consolidation, as the network
        says; 0 outside the lungs.
    method
        Name of the method that made it, or ``given`` for a mask from outside.
    weights
        Of the network; None for a mask from outside.
    warnings
        Sentences for the user.
    """

    array: npt.NDArray[np.uint8]
    probability: npt.NDArray[np.uint8]
    method: str
    weights: WeightsIdentity | None = None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.array.flags.writeable = False
        self.probability.flags.writeable = False
