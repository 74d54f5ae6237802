"""The infer tasks: lungs, lesions, one for each classification system, and lungs with classification in one reply."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import shutil
import tempfile
import uuid
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from covid_bert import RESEARCH_USE_ONLY
from covid_bert.errors import CovidBertError, NotFoundError, ParameterError
from covid_bert.lesions import LESION_LABELS, LesionMask, check_possible, measure_lesions, require_lesions
from covid_bert.lungs import METHOD_CHOICES, segment_lungs
from covid_bert.lungs.mask import LUNG_LABELS, LungMask
from covid_bert.lungs.measurements import measure_lungs
from covid_bert.pacs.retrieval import bring
from covid_bert.progress import Progress
from covid_bert.systems import SYSTEMS, Classification, create
from covid_bert.systems.assemble import lesion_measurement
from covid_bert.systems.memory import on_card_or_processor
from covid_bert.tasks.parameters import InferParameters
from covid_bert.volumes import Volume, read, write_map, write_mask
from covid_bert.weights.identity import demonstration_warnings

logger = logging.getLogger(__name__)
Reply = tuple[str | None, dict[str, Any]]

_progress: ContextVar[Progress | None] = ContextVar("progress", default=None)
_folder: ContextVar[Path | None] = ContextVar("folder", default=None)


@contextmanager
def observed(progress: Progress, folder: Path) -> Iterator[None]:
    """Let a task that is called in the block, on this thread, report to `progress` and heed its cancelling.

    Parameters
    ----------
    progress
        Of this one task.
    folder
        Where the task writes its images, each named after what it shows; it belongs to the caller.
    """
    tokens = _progress.set(progress), _folder.set(folder)
    try:
        yield
    finally:
        _progress.reset(tokens[0])
        _folder.reset(tokens[1])


class StudyTask(InferTask):
    """What all tasks share: check the request, read the study, map errors to HTTP.

    Parameters
    ----------
    infer_type
        MONAI Label's kind of task.
    labels
        Labels of the returned mask by name; none for a task that returns JSON alone.
    description
        One sentence for people.
    choices
        What a client may choose, by parameter of `InferParameters`; the first is the default.
    """

    def __init__(
        self,
        infer_type: InferType,
        labels: dict[str, int],
        description: str,
        choices: dict[str, list[str]],
    ) -> None:
        super().__init__(infer_type, labels, 3, f"{description} {RESEARCH_USE_ONLY}", config=dict(choices))
        self.parameters = frozenset({*choices, "result_extension"})

    def is_valid(self) -> bool:
        """Return True: the tasks need no weights to be offered; results of untrained networks say so."""
        return True

    def __call__(self, request: dict[str, Any]) -> Reply:
        """Run the task for a request of MONAI Label.

        Raises
        ------
        fastapi.HTTPException
            For every `CovidBertError`, with its status and its code, message and hint as detail.
        """
        try:
            parameters = InferParameters.of_request(request, self.parameters)
            if not parameters.image or not os.path.exists(parameters.image):  # noqa: PTH110 - false for any odd name
                raise NotFoundError("The server has no study with that id.", "Ask for the list with GET /datastore/.")
            progress = _progress.get() or Progress()
            bring(Path(parameters.image), progress)
            with progress.stage("reading"):
                volume = read(parameters.image)

            def compute(study: Volume, device: str) -> Reply:
                return self.run(study, parameters.model_copy(update={"device": device}), progress)

            return on_card_or_processor(volume, parameters.chosen_device, compute)
        except CovidBertError as error:
            logger.info("Request refused: %s", error.code)
            raise HTTPException(error.http_status, detail=error.to_json()) from error

    @abstractmethod
    def run(self, volume: Volume, parameters: InferParameters, progress: Progress) -> Reply:
        """Compute the reply for one study."""


class LungsTask(StudyTask):
    """Segments the lungs: a mask on the study's own grid, volumes in the JSON."""

    def __init__(self) -> None:
        super().__init__(
            InferType.SEGMENTATION,
            LUNG_LABELS,
            "Segments the right and left lung.",
            {"lungs": list(METHOD_CHOICES)},
        )

    def run(self, volume: Volume, parameters: InferParameters, progress: Progress) -> Reply:
        """Segment, measure and write."""
        with progress.stage("lungs"):
            lungs = segment_lungs(volume, parameters.lungs, progress, device=parameters.device)
        measured = measure_lungs(volume, lungs)
        return _write(lungs, volume, parameters), {
            **_facts(volume, [lungs], progress),
            "method": lungs.method,
            "lung_volume_ml": {
                "right": measured.right_ml,
                "left": measured.left_ml,
                "total": measured.total_ml,
            },
        }


class LesionsTask(StudyTask):
    """Segments ground-glass and consolidation: a mask on the study's own grid, volumes and shares in the JSON."""

    def __init__(self) -> None:
        super().__init__(
            InferType.SEGMENTATION,
            LESION_LABELS,
            "Segments ground-glass and consolidation inside the lungs.",
            {"lungs": list(METHOD_CHOICES)},
        )

    def run(self, volume: Volume, parameters: InferParameters, progress: Progress) -> Reply:
        """Segment the lungs, the lesions in them, measure and write."""
        check_possible(volume)
        with progress.stage("lungs"):
            lungs = segment_lungs(volume, parameters.lungs, progress, device=parameters.device)
        with progress.stage("lesions"):
            lesions = require_lesions(volume, lungs, progress, device=parameters.device)
            measured = lesion_measurement(lesions, measure_lesions(volume, lungs, lesions))
        return _write(lesions, volume, parameters), {
            **_facts(volume, [lungs, lesions], progress),
            "lesions": measured.model_dump(mode="json"),
        }


class ClassificationTask(StudyTask):
    """Classifies the study with one system: JSON with the lung mask, on request with the location map or alone."""

    def __init__(self, system: str) -> None:
        super().__init__(
            InferType.CLASSIFICATION,
            {},
            f"Classifies a chest CT study: {SYSTEMS[system].title}.",
            {
                "configuration": ["auto", *SYSTEMS[system].configurations],
                "lungs": list(METHOD_CHOICES),
                "reply_image": ["lungs", "lesions", "location", "none", "all"],
            },
        )
        self.system = system

    def run(self, volume: Volume, parameters: InferParameters, progress: Progress) -> Reply:
        """Classify."""
        wanted = parameters.reply_image
        if wanted == "all" and _folder.get() is None:
            raise ParameterError("Several images are the result of a job only.", "Send it to POST /jobs.")
        if wanted == "lesions":
            check_possible(volume)
        classification = _classify(self.system, volume, parameters, progress)
        reply = _classification_json(classification)
        if wanted in ("lesions", "all") and classification.lesions is not None:
            lesions = _write(classification.lesions, volume, parameters)
            if wanted == "lesions":
                return lesions, {"label_names": LESION_LABELS, **reply}
        if wanted in ("location", "all"):
            location = str(write_map(classification.location, volume, _temporary_path(parameters, "location")))
            if wanted == "location":
                return location, reply
        if wanted in ("lungs", "all"):
            return _write(classification.lungs, volume, parameters), {"label_names": LUNG_LABELS, **reply}
        return None, reply


class LungsAndClassificationTask(StudyTask):
    """Lung mask and classification in one reply, so that clients which expect a mask show something."""

    def __init__(self) -> None:
        super().__init__(
            InferType.SEGMENTATION,
            LUNG_LABELS,
            "Segments the lungs and classifies the chest CT study.",
            {
                "system": list(SYSTEMS),
                "configuration": ["auto", "small", "corrected", "published"],
                "lungs": list(METHOD_CHOICES),
            },
        )

    def run(self, volume: Volume, parameters: InferParameters, progress: Progress) -> Reply:
        """Classify, and write the mask that was used."""
        classification = _classify(parameters.system, volume, parameters, progress)
        reply = _classification_json(classification)
        return _write(classification.lungs, volume, parameters), {"label_names": LUNG_LABELS, **reply}


def infer_tasks() -> dict[str, InferTask]:
    """All infer tasks by the name of their model."""
    makers: dict[str, Callable[[], InferTask]] = {
        "lungs": LungsTask,
        "lesions": LesionsTask,
        "lungs_and_covid": LungsAndClassificationTask,
    }
    tasks = {name: make() for name, make in makers.items()}
    return {**tasks, **{f"covid_{system}": ClassificationTask(system) for system in SYSTEMS}}


def _classify(system: str, volume: Volume, parameters: InferParameters, progress: Progress) -> Classification:
    configuration = None if parameters.configuration == "auto" else parameters.configuration
    chosen = create(system, configuration, device=parameters.device, lungs=parameters.lungs)
    return chosen.classify(volume, progress=progress)


def _classification_json(classification: Classification) -> dict[str, Any]:
    """MONAI Label's ``prediction`` list, the predicted class first, and our ``result``."""
    result = classification.result
    # At an operating point, the predicted class need not have the largest score.
    ordered = sorted(
        enumerate(result.class_scores.items()), key=lambda item: (item[1][0] != result.predicted_class, -item[1][1])
    )
    return {
        "prediction": [{"idx": index, "label": label, "score": score} for index, (label, score) in ordered],
        "result": result.model_dump(mode="json"),
    }


def _facts(volume: Volume, masks: list[LungMask | LesionMask], progress: Progress) -> dict[str, Any]:
    """What every reply with the mask of a structure says; the last mask is the one that is sent."""
    weights = [mask.weights for mask in masks if mask.weights is not None]
    return {
        "label_names": _names(masks[-1]),
        "research_use_only": RESEARCH_USE_ONLY,
        "weights": [identity.model_dump(mode="json") for identity in weights],
        "warnings": [
            *volume.warnings,
            *(warning for mask in masks for warning in mask.warnings),
            *demonstration_warnings(weights),
        ],
        "latencies": progress.seconds,
    }


def _names(mask: LungMask | LesionMask) -> dict[str, int]:
    return LUNG_LABELS if isinstance(mask, LungMask) else LESION_LABELS


def _write(mask: LungMask | LesionMask, volume: Volume, parameters: InferParameters) -> str:
    """Write the mask to a temporary file, which MONAI Label removes after sending it."""
    path = _temporary_path(parameters, "lungs" if isinstance(mask, LungMask) else "lesions")
    return str(write_mask(mask.array, volume, path, names=_names(mask)))


@functools.cache
def _reply_folder() -> Path:
    """A folder that only this user may enter, gone when the process ends; MONAI Label removes the files in it."""
    folder = tempfile.mkdtemp(prefix="covid-bert-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _temporary_path(parameters: InferParameters, shows: str) -> Path:
    own, suffix = _folder.get(), parameters.result_extension
    return _reply_folder() / f"{uuid.uuid4().hex}{suffix}" if own is None else own / f"{shows}{suffix}"
