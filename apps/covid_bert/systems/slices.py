"""The kept slices of a study, composed as a configuration says."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from covid_bert.clips.sampling import thinned
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
    return ClipStack.prepare(
        study.volume,
        study.lungs,
        indices,
        window=configuration.window,
        side=configuration.stack_side,
        channels=configuration.channels,
        lesion_probability=study.lesions.probability if study.lesions is not None else None,
        seen_share=configuration.input_side / configuration.stack_side if configuration.framed else None,
        on_progress=lambda fraction: progress.update(STAGE, fraction),
    )


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
