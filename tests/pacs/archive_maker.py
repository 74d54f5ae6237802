"""Series of each kind that lies in an archive, and their way there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from dicom_maker import make_series
from dicomweb_client.api import DICOMwebClient
from dicomweb_client.session_utils import create_session_from_user_pass
from pydicom.uid import SecondaryCaptureImageStorage, XRayRadiationDoseSRStorage, generate_uid
from volume_maker import SHAPE, phantom

from covid_bert.pacs.connection import Limits
from covid_bert.pacs.dicomweb import Pacs
from covid_bert.pacs.settings import PASSWORD_VARIABLE, USER_VARIABLE, PacsSettings

USER, PASSWORD = "reader", "correct-horse-battery"
USERS = {USER: PASSWORD}
ENVIRONMENT = {USER_VARIABLE: USER, PASSWORD_VARIABLE: PASSWORD}
CORONAL = (1, 0, 0, 0, 0, -1)
# Short, for archives that are meant to fail.
IMPATIENT = Limits(connect_seconds=2.0, read_seconds=1.0, attempts=2, first_pause=0.05, slow_seconds=30.0)


def _edit(**values):
    def edit(dataset, index):
        for keyword, value in values.items():
            setattr(dataset, keyword, value)

    return edit


def _capture(dataset, index):
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    del dataset.ImagePositionPatient, dataset.ImageOrientationPatient
    dataset.SeriesDescription = "Dose Report"


def _dose_document(dataset, index):
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = XRayRadiationDoseSRStorage
    dataset.Modality, dataset.SeriesDescription = "SR", "Dose Report"
    for keyword in ("PixelData", "Rows", "Columns", "ImagePositionPatient", "ImageOrientationPatient"):
        delattr(dataset, keyword)


def make_chest(folder: Path, slices: int = SHAPE[0], **values):
    """A chest CT with one localizer in front, as some scanners send them in one series; return its files."""
    array = phantom((slices, *SHAPE[1:]))
    given = {"BodyPartExamined": "CHEST", "SeriesDescription": "Thorax 1.0 B60f", "StudyDescription": "CT Thorax"}
    return make_series(folder, array, edit=_edit(**{**given, **values}))


def make_each_kind(folder: Path) -> dict[str, list[Path]]:
    """One series of each kind; those of one study would be told apart by no more than these."""
    array, one = phantom(), phantom()[:1]
    return {
        "chest": make_chest(folder / "chest"),
        "unnamed": make_series(folder / "unnamed", array),
        "localizer": make_series(
            folder / "localizer", one, edit=_edit(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), orientation=CORONAL
        ),
        "dose report": make_series(folder / "dose", one, edit=_capture),
        "dose document": make_series(folder / "document", one, edit=_dose_document),
        "head": make_series(folder / "head", array, edit=_edit(BodyPartExamined="HEAD", SeriesDescription="HEAD W/O")),
        "head by name": make_series(folder / "named", array, edit=_edit(SeriesDescription="Neuro brain 5mm")),
        "coronal": make_series(folder / "coronal", array, orientation=CORONAL, edit=_edit(BodyPartExamined="CHEST")),
        "mip": make_series(folder / "mip", array, edit=_edit(ImageType=["DERIVED", "SECONDARY", "MIP"])),
        "short": make_series(folder / "short", array[:5], edit=_edit(BodyPartExamined="CHEST")),
        "magnetic": make_series(folder / "magnetic", array, edit=_edit(Modality="MR", BodyPartExamined="CHEST")),
    }


def series_of(files: list[Path]) -> tuple[str, str]:
    """StudyInstanceUID and SeriesInstanceUID of files."""
    header = pydicom.dcmread(files[0], stop_before_pixels=True)
    return str(header.StudyInstanceUID), str(header.SeriesInstanceUID)


def added_slice(files: list[Path], folder: Path) -> Path:
    """One more slice of a series, beyond its last one."""
    dataset = pydicom.dcmread(files[-1])
    step = np.subtract(dataset.ImagePositionPatient, pydicom.dcmread(files[-2]).ImagePositionPatient)
    dataset.ImagePositionPatient = [float(value) for value in np.add(dataset.ImagePositionPatient, step)]
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    path = folder / "added.dcm"
    dataset.save_as(path)
    return path


def push(address: str, files: list[Path]) -> None:
    """Store files in an archive."""
    client = DICOMwebClient(f"{address}/dicom-web", session=create_session_from_user_pass(USER, PASSWORD))
    client.store_instances([pydicom.dcmread(file) for file in files])


def settings_of(address: str, **values) -> PacsSettings:
    """Settings for an archive at an address."""
    return PacsSettings(url=f"{address}/dicom-web", refresh_seconds=0.2, **values)


def open_pacs(address: str, limits: Limits | None = None, environment=None) -> Pacs:
    """An archive as the server opens it."""
    return Pacs(settings_of(address), limits, environment=ENVIRONMENT if environment is None else environment)
