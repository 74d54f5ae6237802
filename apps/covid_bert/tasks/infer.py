"""The infer tasks: lungs, one for each classification system, and both in one reply."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import shutil
import tempfile
import uuid
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from covid_bert import RESEARCH_USE_ONLY
from covid_bert.errors import CovidBertError, NotFoundError
from covid_bert.lungs import METHODS, segment_lungs
from covid_bert.lungs.mask import LUNG_LABELS, LungMask
from covid_bert.lungs.measurements import measure_lungs
from covid_bert.progress import Progress
from covid_bert.systems import SYSTEMS, Classification, create
from covid_bert.systems.memory import memory_errors_explained
from covid_bert.tasks.parameters import InferParameters
from covid_bert.volumes import Volume, read, write_map, write_mask

logger = logging.getLogger(__name__)
Reply = tuple[str | None, dict[str, Any]]


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
            progress = Progress()
            with progress.stage("reading"):
                volume = read(parameters.image)
            with memory_errors_explained():
                return self.run(volume, parameters, progress)
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
            {"lungs": list(METHODS)},
        )

    def run(self, volume: Volume, parameters: InferParameters, progress: Progress) -> Reply:
        """Segment, measure and write."""
        with progress.stage("lungs"):
            lungs = segment_lungs(volume, parameters.lungs, progress)
        measured = measure_lungs(volume, lungs)
        return _write(lungs, volume, parameters), {
            "label_names": LUNG_LABELS,
            "research_use_only": RESEARCH_USE_ONLY,
            "method": lungs.method,
            "lung_volume_ml": {
                "right": measured.right_ml,
                "left": measured.left_ml,
                "total": measured.total_ml,
            },
            "warnings": [*volume.warnings, *lungs.warnings],
            "latencies": progress.seconds,
        }


class ClassificationTask(StudyTask):
    """Classifies the study with one system: JSON with the lung mask, on request with the location map or alone."""

    def __init__(self, system: str) -> None:
        super().__init__(
            InferType.CLASSIFICATION,
            {},
            f"Classifies a chest CT study: {SYSTEMS[system].title}.",
            {
                "configuration": list(SYSTEMS[system].configurations),
                "lungs": list(METHODS),
                "reply_image": ["lungs", "location", "none"],
            },
        )
        self.system = system

    def run(self, volume: Volume, parameters: InferParameters, progress: Progress) -> Reply:
        """Classify."""
        classification = _classify(self.system, volume, parameters, progress)
        reply = _classification_json(classification)
        if parameters.reply_image == "lungs":
            return _write(classification.lungs, volume, parameters), {"label_names": LUNG_LABELS, **reply}
        if parameters.reply_image == "location":
            path = _temporary_path(parameters)
            return str(write_map(classification.location, volume, path)), reply
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
                "configuration": ["corrected", "published"],
                "lungs": list(METHODS),
            },
        )

    def run(self, volume: Volume, parameters: InferParameters, progress: Progress) -> Reply:
        """Classify, and write the mask that was used."""
        classification = _classify(parameters.system, volume, parameters, progress)
        reply = _classification_json(classification)
        return _write(classification.lungs, volume, parameters), {"label_names": LUNG_LABELS, **reply}


def infer_tasks() -> dict[str, InferTask]:
    """All infer tasks by the name of their model."""
    makers: dict[str, Callable[[], InferTask]] = {"lungs": LungsTask, "lungs_and_covid": LungsAndClassificationTask}
    tasks = {name: make() for name, make in makers.items()}
    return {**tasks, **{f"covid_{system}": ClassificationTask(system) for system in SYSTEMS}}


def _classify(system: str, volume: Volume, parameters: InferParameters, progress: Progress) -> Classification:
    # Clients of MONAI Label ask for "cuda" by habit; a numbered card that is not there stays an error.
    device = "auto" if parameters.device == "cuda" else parameters.device
    chosen = create(system, parameters.configuration, device=device, lungs=parameters.lungs)
    return chosen.classify(volume, progress=progress)


def _classification_json(classification: Classification) -> dict[str, Any]:
    """MONAI Label's ``prediction`` list, best class first, and our ``result``."""
    result = classification.result
    ordered = sorted(enumerate(result.class_scores.items()), key=lambda item: -item[1][1])
    return {
        "prediction": [{"idx": index, "label": label, "score": score} for index, (label, score) in ordered],
        "result": result.model_dump(mode="json"),
    }


def _write(lungs: LungMask, volume: Volume, parameters: InferParameters) -> str:
    """Write the mask to a temporary file, which MONAI Label removes after sending it."""
    return str(write_mask(lungs.array, volume, _temporary_path(parameters), names=LUNG_LABELS))


@functools.cache
def _reply_folder() -> Path:
    """A folder that only this user may enter, gone when the process ends; MONAI Label removes the files in it."""
    folder = tempfile.mkdtemp(prefix="covid-bert-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _temporary_path(parameters: InferParameters) -> Path:
    return _reply_folder() / f"{uuid.uuid4().hex}{parameters.result_extension}"
