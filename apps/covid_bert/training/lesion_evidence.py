"""The trained lesion network as the classifiers' training sees it: as in use, on arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from covid_bert.lesions.network import CONTEXT, PIXEL_MILLIMETERS, SLAB_MILLIMETERS, lesion_box
from covid_bert.lungs.mask import LungMask
from covid_bert.segmentation import WorkingGrid, predict, scale


@dataclass(frozen=True, eq=False)
class LesionEvidence:
    """Probability of lesions by a network; see `covid_bert.training.studies.LesionProbability`.

    Parameters
    ----------
    module
        `SliceSegmenter` of lesions in eval mode, batch norms folded or not.
    window_hu
        HU that become -1 and 1 in its input.
    """

    module: nn.Module
    window_hu: tuple[float, float]

    def __call__(
        self, hounsfield: npt.NDArray[np.int16], lungs: npt.NDArray[np.uint8], spacing: tuple[float, float, float]
    ) -> npt.NDArray[np.uint8]:
        """Probability of any lesion, 0 ... 255, on the grid of `hounsfield`; 0 outside the lungs."""
        box = lesion_box(LungMask(lungs, "given"), spacing)
        inside = lungs[box] > 0
        slices, rows, columns = inside.shape
        grid = WorkingGrid.of((slices, rows, columns), spacing, pixel=PIXEL_MILLIMETERS, thickness=SLAB_MILLIMETERS)
        planes = scale(grid.forward(hounsfield[box]), self.window_hu)
        dtype = next(self.module.parameters()).dtype
        found = predict(
            self.module, planes, context=CONTEXT, extra=grid.forward(inside, fill=0.0), batch=8, dtype=dtype
        )
        probability = np.zeros(hounsfield.shape, np.uint8)
        for part, values in grid.back(found):
            lesion = np.clip(1.0 - values[0], 0.0, 1.0) * inside[part]
            probability[box][part] = np.rint(lesion * 255.0)
        return probability


def fast_evidence(module: nn.Module, window_hu: tuple[float, float]) -> LesionEvidence:
    """Prepare a lesion network for inference on this processor; the module given is not changed."""
    import copy

    from covid_bert.networks.devices import fast_dtype
    from covid_bert.networks.fusion import fuse_batch_norms

    ready = fuse_batch_norms(copy.deepcopy(module).eval().requires_grad_(False))  # type: ignore[type-var]
    dtype = fast_dtype(torch.device("cpu"))
    return LesionEvidence(ready.to(dtype=dtype, memory_format=torch.channels_last), window_hu)  # type: ignore[call-overload]
