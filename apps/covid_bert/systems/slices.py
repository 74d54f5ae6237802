"""The kept slices of a study, composed as a configuration says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from covid_bert.clips.sampling import slices_in_step, thinned
from covid_bert.clips.stack import ClipStack
from covid_bert.lungs.gray_level import published_dark_share
from covid_bert.lungs.mask import LungMask
from covid_bert.lungs.selection import open_lung_slices
from covid_bert.progress import Progress
from covid_bert.systems.configuration import SystemConfiguration
from covid_bert.systems.segmented import SegmentedStudy
from covid_bert.volumes.volume import Volume
from covid_bert.volumes.windows import gray8_slices

STAGE = "slices"


def prepare_slices(study: SegmentedStudy, configuration: SystemConfiguration, progress: Progress) -> ClipStack:
    """Choose the open-lung range and compose its slices.

    Parameters
    ----------
    study
        With lesions, where the configuration needs them.
    configuration
        Says which slices, channels and frame.
    progress
        Told the finished fraction of the stage ``slices``; may cancel.
    """
    indices = _kept_slices(study.volume, study.lungs, configuration, progress)
    volume, lungs = study.volume, study.lungs
    probability = study.lesions.probability if study.lesions is not None else None
    thickness = 1 if configuration.slice_step is None else slices_in_step(volume.spacing[0], configuration.slice_step)
    taken = indices
    if thickness > 1:
        volume, lungs, probability = _averaged(volume, lungs, probability, indices, thickness)
        taken = np.arange(len(indices))
    stack = ClipStack.prepare(
        volume,
        lungs,
        taken,
        window=configuration.window,
        side=configuration.stack_side,
        channels=configuration.channels,
        lesion_probability=probability,
        seen_share=configuration.input_side / configuration.stack_side if configuration.framed else None,
        on_progress=lambda fraction: progress.update(STAGE, fraction),
    )
    return replace(stack, indices=indices)


def _averaged(
    volume: Volume,
    lungs: LungMask,
    probability: npt.NDArray[np.uint8] | None,
    indices: npt.NDArray[np.int64],
    thickness: int,
) -> tuple[Volume, LungMask, npt.NDArray[np.uint8] | None]:
    """Average thin slices around each of `indices`, as training does: noise is then that of thick ones.

    A pixel is lung where half of its slices are.
    """
    first = indices - (thickness - 1) // 2
    members = np.clip(first[:, None] + np.arange(thickness), 0, volume.shape[0] - 1)
    shape = (len(indices), *volume.shape[1:])
    array, mask = np.empty(shape, np.int16), np.empty(shape, np.uint8)
    lesions = np.empty(shape, np.uint8) if probability is not None else None
    for number, slab in enumerate(members):
        array[number] = np.rint(volume.array[slab].mean(axis=0, dtype=np.float32))
        inside = (lungs.array[slab] > 0).mean(axis=0, dtype=np.float32) >= 0.5
        mask[number] = np.where(inside, lungs.array[slab].max(axis=0), 0)
        if probability is not None and lesions is not None:
            lesions[number] = np.rint(probability[slab].mean(axis=0, dtype=np.float32))
    return replace(volume, array=array), replace(lungs, array=mask), lesions


def _kept_slices(
    volume: Volume, lungs: LungMask, configuration: SystemConfiguration, progress: Progress
) -> npt.NDArray[np.int64]:
    """Choose the open-lung range: the published rules by dark pixels inside the body, the corrected one by the mask."""
    rule = configuration.open_lungs
    if not rule.startswith("published"):
        kept = open_lung_slices(lungs, rule=rule)
        step = configuration.slice_step
        return kept if step is None else thinned(kept, volume.spacing[0], step)
    # A slice at a time: a long study in gray levels would be another large array.
    shares = []
    for index in range(volume.shape[0]):
        progress.update(STAGE, 0.0)
        shares.append(published_dark_share(gray8_slices(volume, configuration.window, np.array([index])))[0])
    return open_lung_slices(np.array(shares), rule=rule)
