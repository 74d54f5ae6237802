"""What all classification systems share: from a volume to lungs, kept slices, clips, and one `StudyResult`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import ClassVar, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from covid_bert import __version__
from covid_bert.clips.sampling import Positions
from covid_bert.clips.stack import ClipStack
from covid_bert.lesions import LesionMask, check_possible
from covid_bert.lungs.mask import LungMask
from covid_bert.networks.devices import choose_device
from covid_bert.progress import Progress
from covid_bert.systems import location as location_map
from covid_bert.systems.assemble import (
    FINDING,
    calibrate,
    check_contract,
    check_fitted,
    crop_warnings,
    describe,
    lesion_measurement,
    measure,
    named,
    predict,
    slice_evidence,
    stages_agree,
    weights_state,
    weights_warnings,
)
from covid_bert.systems.configuration import SystemConfiguration
from covid_bert.systems.likeness import assess_likeness
from covid_bert.systems.loading import LoadedNetwork, LoadedNetworks, choose_dtype, load_networks
from covid_bert.systems.memory import memory_errors_explained
from covid_bert.systems.result import (
    Provenance,
    SegmentAttention,
    StageScore,
    StudyResult,
    WindowScore,
)
from covid_bert.systems.segmented import SegmentedStudy
from covid_bert.systems.slices import prepare_slices
from covid_bert.volumes.volume import Unit, Volume

Configuration = TypeVar("Configuration", bound=SystemConfiguration)


@dataclass(frozen=True)
class Classification:
    """A result with the images that belong to it.

    Parameters
    ----------
    result
        What is written, sent and shown.
    lungs
        The lung mask that was used.
    location
        uint8 (slices, rows, columns) on the canonical grid: the location map.
    lesions
        None where no lesion network took part.
    """

    result: StudyResult
    lungs: LungMask
    location: npt.NDArray[np.uint8]
    lesions: LesionMask | None = None


@dataclass(frozen=True)
class Outcome:
    """What a system's networks said, before it becomes a result.

    Parameters
    ----------
    stages
        In order; the last is not necessarily the decisive one.
    scores
        Final score by class.
    clips, clip_kinds, clip_scores
        Positions of each clip among the kept slices, the slice choice that made it, and float (clips, classes).
    location
        float32 (kept slices, rows, columns).
    segments
        Attention of a study network.
    embedding
        float32 (channels): of the whole study, for the density of a configuration that has one.
    """

    stages: list[StageScore]
    scores: npt.NDArray[np.float64]
    clips: list[Positions]
    clip_kinds: list[str]
    clip_scores: npt.NDArray[np.float64]
    location: npt.NDArray[np.float32]
    segments: list[SegmentAttention] = field(default_factory=list)
    embedding: npt.NDArray[np.float32] | None = None


class ClassificationSystem(ABC, Generic[Configuration]):
    """One system in one configuration on one device.

    Parameters
    ----------
    configuration
        One of the system's configurations.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    lungs
        Method for volumes that come without a lung mask.
    """

    NAME: ClassVar[str]
    TITLE: ClassVar[str]

    def __init__(self, configuration: Configuration, *, device: str = "auto", lungs: str = "auto") -> None:
        self.configuration = configuration
        self.lungs_method = lungs
        self.device = choose_device(device)
        self.dtype = choose_dtype(configuration.precision, self.device)

    @abstractmethod
    def _run(self, stack: ClipStack, networks: dict[str, LoadedNetwork], progress: Progress) -> Outcome:
        """Run the networks on the kept slices."""

    def classify(
        self,
        volume: Volume,
        lungs: LungMask | None = None,
        lesions: LesionMask | None = None,
        *,
        progress: Progress | None = None,
    ) -> Classification:
        """Classify one study.

        Parameters
        ----------
        volume
            Made by `covid_bert.volumes.read`.
        lungs
            A corrected mask to use; segmented here when None.
        lesions
            What `segment_lesions` made of these lungs; segmented here when None.
        progress
            Receives stage and fraction, and carries the cancel flag.

        Raises
        ------
        NotChestError
            If no lungs are found.
        InputError
            If a given mask is on another grid, or that of the lungs is empty; if the configuration needs lesions and
            they cannot be segmented in this volume.
        WeightsError
            If installed weights are damaged, or those of the lesion network are missing and needed.
        OutOfMemoryError
            If the machine's memory is too small.
        CancelledError
            If the user cancelled.
        """
        with memory_errors_explained():
            return self._classify(volume, lungs, lesions, progress or Progress())

    def _classify(
        self, volume: Volume, lungs: LungMask | None, lesions: LesionMask | None, progress: Progress
    ) -> Classification:
        if self.configuration.needs_lesions and lesions is None:
            check_possible(volume)
        study = SegmentedStudy.of(
            volume, lungs, lesions, lungs_method=self.lungs_method, device=str(self.device), progress=progress
        )
        lungs, lesions = study.lungs, study.lesions
        with progress.stage("weights"):
            loaded = load_networks(self.configuration, self.device, self.dtype)
            networks = loaded.by_role
            for network in networks.values():
                check_contract(network, self.configuration)
            check_fitted(networks)
        with progress.stage("slices"):
            stack = prepare_slices(study, self.configuration, progress)
        outcome = self._run(stack, networks, progress)
        with progress.stage("location"):
            location = location_map.study_map(
                outcome.location, stack.indices, volume, lungs, lesions, finding=FINDING, seen_share=self._seen_share
            )
        result = self._result(study, stack, loaded, outcome, location, progress)
        return Classification(result, lungs, location.array, lesions)

    def _result(
        self,
        study: SegmentedStudy,
        stack: ClipStack,
        loaded: LoadedNetworks,
        outcome: Outcome,
        location: location_map.StudyMap,
        progress: Progress,
    ) -> StudyResult:
        networks = loaded.by_role
        volume, lungs, measured = study.volume, study.lungs, study.lesion_measurements
        deciding = [networks[part] for part in self.decisive_parts]
        state = weights_state([network.identity for network in deciding])
        weights = [*(network.identity for network in networks.values()), *study.weights]
        untrained = [
            part.weights for role, part in self.configuration.parts.items() if not networks[role].identity.trained
        ]
        scores = named(outcome.scores)
        calibrated, calibration_warnings = calibrate(outcome.scores, deciding, weights)
        predicted = predict(scores, calibrated)
        likeness = assess_likeness(study, networks, outcome.embedding)
        if likeness.unlike:
            calibrated = None
        return StudyResult(
            study=describe(volume),
            weights_state=state,
            untrained_weights=untrained,
            class_scores=scores,
            predicted_class=predicted,
            calibrated_probability=calibrated,
            stages=outcome.stages,
            stages_agree=stages_agree(outcome.stages, state),
            windows=[
                WindowScore(
                    kind=kind, slice_indices=[int(index) for index in stack.indices[clip]], scores=named(clip_scores)
                )
                for clip, kind, clip_scores in zip(outcome.clips, outcome.clip_kinds, outcome.clip_scores, strict=True)
            ],
            slice_evidence=slice_evidence(
                volume, stack.indices, outcome.clips, outcome.clip_scores, location.array, study.lesion_measurements
            ),
            segments=outcome.segments,
            location_map=location_map.summarise(location, volume, lungs),
            lungs=measure(volume, lungs),
            lesions=lesion_measurement(study.lesions, measured) if study.lesions and measured else None,
            out_of_distribution_score=likeness.score,
            warnings=[
                *study.warnings,
                *loaded.warnings,
                *crop_warnings(lungs, stack.indices, self._seen_share),
                *weights_warnings(state, untrained, weights),
                *calibration_warnings,
                *likeness.warnings,
            ],
            provenance=Provenance(
                system=self.NAME,
                configuration=self.configuration.name,
                software_version=__version__,
                created=datetime.now(timezone.utc),
                weights=weights,
                window_hu=[self.configuration.window.lower, self.configuration.window.upper]
                if volume.unit is Unit.HOUNSFIELD
                else None,
                kept_slices=[int(stack.indices[0]), int(stack.indices[-1])],
                slice_choice=self.configuration.slice_choice,
                device=str(self.device),
                precision=str(self.dtype).removeprefix("torch."),
                seconds={stage: round(seconds, 3) for stage, seconds in progress.seconds.items()},
            ),
        )

    @property
    def _seen_share(self) -> float:
        """Share of a slice's rows and columns that the networks see; a frame around the lungs cuts none of them off."""
        return 1.0 if self.configuration.framed else self.configuration.input_side / self.configuration.stack_side

    @property
    @abstractmethod
    def decisive_parts(self) -> tuple[str, ...]:
        """Roles of the networks behind the final score; the last one's weights carry its calibration."""
