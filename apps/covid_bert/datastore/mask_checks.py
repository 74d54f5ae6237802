"""Whether a lung mask can be learned from; a good one is looked into once only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from covid_bert.datastore.checks import GridCheck
from covid_bert.datastore.opinions import LabelledCase
from covid_bert.errors import CovidBertError, InputError, NotFoundError, OutOfMemoryError
from covid_bert.files import write_atomically
from covid_bert.lungs.mask import LUNG_LABELS, fault_of
from covid_bert.retraining.readers import MaskOpinion, majority_mask
from covid_bert.volumes import write_mask
from covid_bert.weights.files import sha256_of

# Changes when masks that were found good may not be so any more.
_RULES = "1"
_GOOD_NAME, _CONSENSUS_NAME = "good-masks", "consensus"
_UNUSABLE = (InputError, NotFoundError, OutOfMemoryError, MemoryError, OSError)


class MaskChecks:
    """Checks the masks of cases and makes the one of several readers.

    Parameters
    ----------
    cache
        Folder in which it is kept which masks are good, and what several readers have agreed on.
    """

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._grids = GridCheck()

    def fault(self, case: LabelledCase, mask: MaskOpinion) -> str:
        """Return why a mask cannot be used, as a sentence without any name of a file; empty for a good one.

        Raises
        ------
        OSError
            If the cache cannot be written.
        """
        good = self._cache / _GOOD_NAME / _digest(case.image_sha256, mask.sha256)
        if good.exists():
            return ""
        try:
            self._grids.outline(case.image)
        except _UNUSABLE as error:
            return f"Its image cannot be used: {_plainly(error, case, mask)}"
        try:
            fault = fault_of(self._grids.labels(mask.path, case.image))
        except _UNUSABLE as error:
            fault = _plainly(error, case, mask)
        if fault:
            return f"The mask by {mask.reader} cannot be used: {fault}"
        good.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(good, "")
        return ""

    def labels(self, case: LabelledCase, mask: MaskOpinion) -> npt.NDArray[np.uint8]:
        """Return a good mask on the canonical grid of its image."""
        return self._grids.labels(mask.path, case.image)

    def consensus(self, case: LabelledCase, masks: Sequence[MaskOpinion]) -> tuple[Path, str]:
        """Return file and SHA-256 of what most readers have drawn; see `majority_mask`.

        Parameters
        ----------
        case
            The case.
        masks
            Good masks, the newest last.

        Raises
        ------
        OutputError
            If it cannot be written.
        InputError
            If a mask was damaged meanwhile.
        """
        if len({mask.sha256 for mask in masks}) == 1:
            return masks[-1].path, masks[-1].sha256
        name = _digest(case.image_sha256, *(mask.sha256 for mask in masks))
        path = self._cache / _CONSENSUS_NAME / f"{name}.nii.gz"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            voted = majority_mask([self.labels(case, mask) for mask in masks])
            outline = self._grids.outline(case.image)
            grid = replace(outline, array=np.broadcast_to(np.uint8(0), voted.shape))
            write_mask(voted, grid, path, names=LUNG_LABELS)
        return path, sha256_of(path)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join((_RULES, *parts)).encode()).hexdigest()


def _plainly(error: BaseException, case: LabelledCase, mask: MaskOpinion) -> str:
    """Say what an error says; names of files are those of studies, and may be those of patients."""
    if not isinstance(error, CovidBertError):
        return "it does not fit into memory." if isinstance(error, MemoryError) else "it cannot be read from the disk."
    message = error.message
    for path in (case.image, mask.path):
        for name in (path.name, path.stem):
            message = message.replace(f"'{name}'", "it")
    names = {case.identifier, case.image.name, case.image.stem}
    return f"{error.code}." if any(name in message for name in names) else message
