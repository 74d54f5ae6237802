"""`SeenStudy`: what the classifiers' training needs of a study, whether it was made or labelled by readers."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from covid_bert.clips.stack import ClipStack


class Labelled(Protocol):
    """What a study is drawn by."""

    @property
    def source(self) -> str:
        """The person; studies of one are drawn as one."""

    @property
    def label(self) -> int:
        """Index into `CLASS_NAMES`."""


class SeenStudy(Labelled, Protocol):
    """A study as the networks see it."""

    @property
    def channels(self) -> npt.NDArray[np.uint8]:
        """uint8 (kept slices, 3, side, side), see `ClipStack`."""

    @property
    def lesion_share(self) -> npt.NDArray[np.float32]:
        """float32 (kept slices): share of the lungs that holds lesions."""

    @property
    def stack(self) -> ClipStack:
        """The slices, ready to be cut into clips."""
