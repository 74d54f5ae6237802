"""The external measurement of the default model: every study of a folder, one after the other, one JSON file."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from covid_bert import __version__
from covid_bert.errors import NotFoundError, OutputError
from covid_bert.evaluation import summary
from covid_bert.evaluation.pictures import write_pictures
from covid_bert.evaluation.recording import recorded
from covid_bert.evaluation.results import Measurement, NotMeasuredRow, StudyRow
from covid_bert.evaluation.source_tests import source_tests
from covid_bert.evaluation.sources import list_studies
from covid_bert.evaluation.studies import ListedStudy
from covid_bert.evaluation.study_measurement import facts_of, measure_study
from covid_bert.files import write_atomically
from covid_bert.systems import SYSTEMS, ClassificationSystem, create
from covid_bert.weights.identity import WeightsIdentity, demonstration_warnings
from covid_bert.weights.store import list_names, live

MEASUREMENT_FILE = "measurement.json"
PICTURES = "pictures"
# Told the name, number and count of the study that is being measured.
OnStudy = Callable[[str, int, int], None]


def measure(folder: Path, output: Path, *, samples: Path, on_study: OnStudy | None = None) -> Measurement:
    """Measure the default model on all studies that are there.

    Studies are read, measured and drawn one after the other, so that the memory needed is that of the largest one.

    Parameters
    ----------
    folder
        Holds the external data sets as subfolders, see `covid_bert.evaluation.sources`.
    output
        Gets ``measurement.json`` and the folder ``pictures``. Pictures of studies that may not be redistributed are
        among them.
    samples
        The project's sample data.
    on_study
        Told what is being done.

    Returns
    -------
    Measurement
        What was written. A study that failed is in it, with its error.

    Raises
    ------
    NotFoundError
        If no external study is there.
    OutputError
        If the results cannot be written.
    CancelledError
        If the user cancelled.
    """
    listed, missing = list_studies(folder, samples)
    # The sample data alone, which training used, would be a measurement of nothing.
    if all(study.facts.training_source for study in listed):
        raise NotFoundError(
            "The data folder holds no external study of a known data set.",
            "Give the folder that holds the data sets as subfolders.",
        )
    start = time.perf_counter()
    before = live_weights()
    systems, absent = installed_systems()
    rows: list[StudyRow] = []
    weights: dict[tuple[str, str], WeightsIdentity] = {}
    try:
        (output / PICTURES).mkdir(parents=True, exist_ok=True)
        for number, study in enumerate(listed, start=1):
            if on_study is not None:
                on_study(study.facts.name, number, len(listed))
            row, used = _measure(study, systems, output / PICTURES)
            rows.append(row)
            weights |= {(item.name, item.sha256): item for item in used}
        found = summary.findings(rows)
        measurement = Measurement(
            demonstration_warnings=demonstration_warnings(weights.values()),
            software_version=__version__,
            created=datetime.now(timezone.utc),
            weights=list(weights.values()),
            studies=rows,
            not_measured=[NotMeasuredRow(name=item.name, reason=item.reason) for item in missing] + absent,
            findings=found,
            targets=summary.targets(rows, found),
            source_tests=source_tests(rows),
            warnings=_changes(before, live_weights()),
            seconds=round(time.perf_counter() - start, 1),
        )
        write_atomically(output / MEASUREMENT_FILE, measurement.model_dump_json(indent=1) + "\n")
    except OSError as error:
        raise OutputError(
            f"The measurement cannot be written: {error.strerror or type(error).__name__}.",
            "Choose another --out, and check that the disk has space.",
        ) from error
    return measurement


def installed_systems() -> tuple[list[ClassificationSystem[Any]], list[NotMeasuredRow]]:
    """Make each system in each configuration whose weights are all installed.

    Returns
    -------
    systems
        To measure.
    absent
        The others, with the weights that they lack: scores of random numbers are not measured.
    """
    systems: list[ClassificationSystem[Any]] = []
    absent: list[NotMeasuredRow] = []
    for name, entry in SYSTEMS.items():
        for configuration, content in entry.configurations.items():
            lacking = sorted({part.weights for part in content.parts.values() if live(part.weights) is None})
            if lacking:
                reason = f"weights are not installed: {', '.join(lacking)}"
                absent.append(NotMeasuredRow(name=f"{name} ({configuration})", reason=reason))
            else:
                systems.append(create(name, configuration))
    return systems, absent


def live_weights() -> dict[str, str]:
    """SHA-256 of the live weights by name."""
    found = {name: live(name) for name in list_names()}
    return {name: weights.sha256 for name, weights in found.items() if weights is not None}


def _changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Say which weights changed between two looks: the studies were then not measured with the same ones."""
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    if not changed:
        return []
    return [f"Weights changed while the studies were measured ({', '.join(changed)}): measure again."]


def _measure(
    listed: ListedStudy, systems: list[ClassificationSystem[Any]], pictures: Path
) -> tuple[StudyRow, list[WeightsIdentity]]:
    record: dict[str, Any] = {}
    with recorded(record):
        study = listed.load()
    if "error" in record:
        return StudyRow(**facts_of(listed.facts), **record), []
    measured = measure_study(study, systems)
    drawn: dict[str, Any] = {}
    with recorded(drawn):
        paths = write_pictures(study, measured, pictures)
        return measured.row.model_copy(update={"pictures": [path.name for path in paths]}), measured.weights
    failures = [*measured.row.failures, f"No picture was drawn: {drawn['error']}"]
    return measured.row.model_copy(update={"failures": failures}), measured.weights
