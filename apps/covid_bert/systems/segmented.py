"""A study with its lungs and lesions: what all systems do before their networks run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from covid_bert.errors import InputError
from covid_bert.lesions import LesionMask, LesionMeasurements, measure_lesions, segment_lesions, why_not
from covid_bert.lungs import segment_lungs
from covid_bert.lungs.mask import LungMask
from covid_bert.progress import Progress
from covid_bert.volumes.volume import Volume
from covid_bert.weights.identity import WeightsIdentity


@dataclass(frozen=True, eq=False)
class SegmentedStudy:
    """A volume with what was segmented in it. Made by `SegmentedStudy.of`.

    Parameters
    ----------
    volume, lungs
        The study.
    lesions
        None where no lesion network took part.
    lesion_measurements
        Of all slices; None like `lesions`.
    """

    volume: Volume
    lungs: LungMask
    lesions: LesionMask | None
    lesion_measurements: LesionMeasurements | None

    @classmethod
    def of(
        cls,
        volume: Volume,
        lungs: LungMask | None,
        lesions: LesionMask | None,
        *,
        lungs_method: str,
        device: str,
        progress: Progress,
    ) -> SegmentedStudy:
        """Segment what is not given, and check what is.

        Parameters
        ----------
        volume
            The study.
        lungs, lesions
            Given masks, or None.
        lungs_method
            For lungs that are not given.
        device
            For the networks.
        progress
            Gets the stages ``lungs`` and ``lesions``.

        Raises
        ------
        NotChestError
            If no lungs are found.
        InputError
            If a given mask is on another grid, or that of the lungs is empty.
        WeightsError
            If installed weights are damaged.
        CancelledError
            If the user cancelled.
        """
        with progress.stage("lungs"):
            if lungs is None:
                lungs = segment_lungs(volume, lungs_method, progress, device=device)
            _check_grid("lung", lungs.array, volume)
            if not lungs.array.any():
                raise InputError("The lung mask is empty.", "Draw the lungs, or let them be segmented.")
        with progress.stage("lesions"):
            if lesions is None:
                lesions = segment_lesions(volume, lungs, progress, device=device)
            if lesions is None:
                return cls(volume, lungs, None, None)
            _check_grid("lesion", lesions.array, volume)
            return cls(volume, lungs, lesions, measure_lesions(volume, lungs, lesions))

    @property
    def weights(self) -> list[WeightsIdentity]:
        """Of the networks that made the masks."""
        made_by = (self.lungs.weights, self.lesions.weights if self.lesions is not None else None)
        return [identity for identity in made_by if identity is not None]

    @property
    def warnings(self) -> list[str]:
        """Of volume and masks, and why there are no lesions where there are none."""
        lesions = self.lesions.warnings if self.lesions is not None else (why_not(self.volume),)
        return [*self.volume.warnings, *self.lungs.warnings, *(sentence for sentence in lesions if sentence)]


def _check_grid(what: str, mask: npt.NDArray[np.uint8], volume: Volume) -> None:
    if mask.shape != volume.shape:
        raise InputError(
            f"The {what} mask has shape {mask.shape}, the volume {volume.shape}.",
            "Export the mask on the grid of this volume.",
        )
