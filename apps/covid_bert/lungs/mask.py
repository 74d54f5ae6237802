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


def fault_of(labels: npt.NDArray[np.uint8]) -> str:
    """Return why values are not those of two lungs; empty where they are.

    Parameters
    ----------
    labels
        (slices, rows, columns).
    """
    counts = np.zeros(256, np.int64)
    for one in labels:
        counts += np.bincount(one.ravel(), minlength=256)
    odd = [value for value in np.flatnonzero(counts).tolist() if value not in (0, RIGHT_LUNG, LEFT_LUNG)]
    if odd:
        return f"it holds the label {odd[0]}; 1 is the right lung, 2 the left one."
    missing = [side for side, value in (("right", RIGHT_LUNG), ("left", LEFT_LUNG)) if not counts[value]]
    return f"its {' and its '.join(missing)} lung is empty." if missing else ""
