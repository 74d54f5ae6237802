"""The lesion network as the classifiers' training sees it: as in use, on arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from covid_bert.lesions.network import lesion_box, lesion_probabilities
from covid_bert.lungs.mask import LungMask
from covid_bert.segmentation import LoadedSegmenter


@dataclass(frozen=True, eq=False)
class LesionEvidence:
    """Probability of lesions by a network; see `covid_bert.training.studies.LesionProbability`.

    Parameters
    ----------
    segmenter
        The lesion network.
    """

    segmenter: LoadedSegmenter

    def __call__(
        self, hounsfield: npt.NDArray[np.int16], lungs: npt.NDArray[np.uint8], spacing: tuple[float, float, float]
    ) -> npt.NDArray[np.uint8]:
        """Probability of any lesion, 0 ... 255, on the grid of `hounsfield`; 0 outside the lungs."""
        box = lesion_box(LungMask(lungs, "given"), spacing)
        inside = lungs[box] > 0
        grid, found = lesion_probabilities(hounsfield[box], inside, spacing, self.segmenter)
        probability = np.zeros(hounsfield.shape, np.uint8)
        for part, values in grid.back(found):
            lesion = np.clip(1.0 - values[0], 0.0, 1.0) * inside[part]
            probability[box][part] = np.rint(lesion * 255.0)
        return probability
