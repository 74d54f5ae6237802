"""Computing as the router's process does it, with copies of one result in place of networks; studies that do harm."""

from __future__ import annotations

import functools
import os
import time
from dataclasses import dataclass
from pathlib import Path

import pydicom

from covid_bert.errors import WeightsError
from covid_bert.router.classifying import compute


@dataclass(frozen=True)
class FakeComputing:
    """Notes each computation as a line in a file. A study's SeriesDescription says what harm it does.

    `template` holds a result's objects. Nothing that takes long to import is imported.
    """

    marks: Path
    template: Path

    def __call__(self):
        return functools.partial(_compute, self.marks, self.template)

    def runs(self) -> list[str]:
        return self.marks.read_text().split() if self.marks.exists() else []


def _compute(marks, template, request, progress, folder):
    study = Path(request["study"])
    with marks.open("a") as file:
        file.write(f"{study.name}\n")
    harm = str(pydicom.dcmread(next(study.glob("*.dcm")), stop_before_pixels=True).get("SeriesDescription", ""))
    if harm == "KILL":
        os._exit(1)
    if harm == "RAISE":
        raise RuntimeError("Doe^Jane")
    if harm == "WEIGHTS":
        raise WeightsError("The weights are damaged.", "Fetch them.")
    if harm == "SLOW":
        time.sleep(600)
    return compute(functools.partial(_copy, template), request, progress, folder)


def _copy(template, volume, _progress, folder):
    """The template's objects as results of a volume: same volume, same UIDs."""
    files = {}
    for path in sorted(template.iterdir()):
        dataset = pydicom.dcmread(path)
        dataset.StudyInstanceUID = dataset.PatientID = volume.source.study_instance_uid
        dataset.SeriesInstanceUID = pydicom.uid.generate_uid(
            entropy_srcs=[volume.source.series_instance_uid, path.name]
        )
        instance = pydicom.uid.generate_uid(entropy_srcs=[volume.identifier, dataset.SeriesInstanceUID])
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = instance
        files[path.name] = folder / path.name
        dataset.save_as(files[path.name])
    return files
