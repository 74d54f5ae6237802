"""`LungMask`: right and left lung on the grid of the volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from covid_bert.weights.identity import WeightsIdentity

RIGHT_LUNG = 1
LEFT_LUNG = 2
LUNG_LABELS = {"right lung": RIGHT_LUNG, "left lung": LEFT_LUNG}


@dataclass(frozen=True, eq=False)
class LungMask:
    """Lung labels of one volume.

    Parameters
    ----------
    array
        uint8 (slices, rows, columns) on the volume's canonical grid: 0 background, 1 right lung, 2 left lung. Right
        and left are the patient's.
    method
        Name of the method that made it (one of `covid_bert.lungs.METHODS`, or ``given`` for a mask from outside).
    warnings
        Sentences for the user, for example that only one lung was found.
    weights
        Of the network that made it; None for a method without one.
    uncertainty
        Of that network along the mask's borders, in [0, 1]: see `covid_bert.segmentation.border_entropy`.
    """

    array: npt.NDArray[np.uint8]
    method: str
    warnings: tuple[str, ...] = ()
    weights: WeightsIdentity | None = None
    uncertainty: float | None = None

    def __post_init__(self) -> None:
        self.array.flags.writeable = False
