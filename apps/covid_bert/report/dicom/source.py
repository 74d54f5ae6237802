"""The series that results refer to: patient, study and instances, as far as results need them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from nibabel import orientations
from pydicom.dataset import Dataset

from covid_bert.errors import GeometryError, InputError, NotFoundError, UnreadableFileError
from covid_bert.report.dicom.attributes import ATTRIBUTES, patient_and_study, plane_of
from covid_bert.report.dicom.identity import uid_of
from covid_bert.volumes.archive import unpacked
from covid_bert.volumes.dicom_files import is_dicom
from covid_bert.volumes.dicom_headers import files_below
from covid_bert.volumes.geometry import LPS_TO_RAS
from covid_bert.volumes.volume import Volume

_HEAD_AXIS = 2
# The reader takes tables that jitter by as much, and a share of the distance between slices more.
_SHIFT_MM, _SHIFT_SHARE = 0.6, 0.25
_TILT = 0.02
_REEXPORT = "Export the whole series again from the PACS."
_DAMAGE = (OSError, EOFError, ValueError, TypeError, AttributeError, KeyError, NotImplementedError)


@dataclass(frozen=True)
class DicomSource:
    """One series of a patient's study.

    Parameters
    ----------
    patient
        Patient and study, for the results to take over.
    instances
        Identity and plane of each instance, without pixels or patient, in the order of the slices of the volume's own
        grid (`Volume.native`).
    runs_to_head
        True where that order is foot to head, False where it is head to foot, None where the slices are not axial.
    """

    patient: Dataset
    instances: tuple[Dataset, ...]
    runs_to_head: bool | None

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID of the instances."""
        return str(self.instances[0].SeriesInstanceUID)

    def instance_of(self, index: int) -> Dataset | None:
        """Return the instance of a canonical slice (0 at the foot); None where slices are not axial."""
        if self.runs_to_head is None:
            return None
        return self.instances[index if self.runs_to_head else len(self.instances) - 1 - index]


def read_source(volume: Volume) -> DicomSource:
    """Read which instances a volume was made of, and whose they are.

    Parameters
    ----------
    volume
        Read from a folder or zip file of DICOM files that is still there.

    Raises
    ------
    InputError
        If the study is not DICOM, or its files lack what every DICOM object needs.
    NotFoundError
        If files of the series are gone.
    GeometryError
        If the files do not lie where the volume says.
    """
    source = volume.source
    if source.file_format != "dicom":
        raise InputError(
            "The study is not DICOM: results as DICOM belong to the patient's study and need its files.",
            "Give the DICOM folder or zip file of the study, or ask for no DICOM results.",
        )
    with _folder(source.path) as folder:
        found = dict(_instances(folder, source.series_instance_uid))
    missing = sum(uid not in found for uid in source.sop_instance_uids)
    if missing or not all(source.sop_instance_uids):
        raise NotFoundError(
            f"{missing or 'Some'} of the {len(source.sop_instance_uids)} instances of the series have no file or no "
            "SOPInstanceUID.",
            _REEXPORT,
        )
    raw = [found[uid] for uid in source.sop_instance_uids]
    _check(raw, volume)
    # A series without one has no neighbours in space: its own stays the same for all its results.
    frame_of_reference = uid_of("frame of reference", source.series_instance_uid)
    instances = tuple(plane_of(each, frame_of_reference, _distance(volume)) for each in raw)
    axis, direction = orientations.io_orientation(volume.native.affine)[2]
    return DicomSource(patient_and_study(raw[0]), instances, bool(direction > 0) if axis == _HEAD_AXIS else None)


def _distance(volume: Volume) -> float:
    """Return the distance in mm of neighbouring slices, along their normal."""
    column, row, step = volume.native.affine[:3, :3].T
    normal = np.cross(column, row)
    return float(abs(step @ normal) / np.linalg.norm(normal))


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    if not path.exists():
        raise NotFoundError("The files of the study are gone.", "Give the study again.")
    with nullcontext(path) if path.is_dir() else unpacked(path) as folder:
        yield folder


def _instances(folder: Path, series_uid: str) -> Iterator[tuple[str, Dataset]]:
    """Yield the instances of a series by their SOPInstanceUID."""
    for file in files_below(folder):
        if not is_dicom(file):
            continue
        try:
            dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=ATTRIBUTES, force=True)
            if str(dataset.get("SeriesInstanceUID", "")) == series_uid:
                yield str(dataset.get("SOPInstanceUID", "")), dataset
        except _DAMAGE as error:
            raise UnreadableFileError(f"The header of '{file.name}' is damaged.", _REEXPORT) from error


def _check(instances: Sequence[Dataset], volume: Volume) -> None:
    first = instances[0]
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID"):
        if not first.get(keyword):
            raise InputError(f"{keyword} is missing in the files: results would belong to no study.", _REEXPORT)
        if any(str(each.get(keyword, "")) != str(first[keyword].value) for each in instances):
            raise InputError(f"The instances of the series differ in {keyword}.", _REEXPORT)
    if int(first.get("NumberOfFrames") or 1) > 1:
        raise InputError(
            "Results as DICOM are not made of multi-frame images.", "Convert the study to single-frame DICOM files."
        )
    if len({str(each.get("PatientID") or "") for each in instances}) > 1:
        raise InputError("The instances of the series name several patients.", _REEXPORT)
    # The masks are written plane by plane: each must lie in its own instance's plane.
    lps = LPS_TO_RAS @ volume.native.affine
    axes = (lps[:3, :2] / np.linalg.norm(lps[:3, :2], axis=0)).T.ravel()
    allowed = _SHIFT_MM + _SHIFT_SHARE * float(np.linalg.norm(lps[:3, 2]))
    for index, each in enumerate(instances):
        position, orientation = (_numbers(each, name) for name in ("ImagePositionPatient", "ImageOrientationPatient"))
        if math.dist(position, lps[:3, 2] * index + lps[:3, 3]) > allowed or np.abs(orientation - axes).max() > _TILT:
            raise GeometryError("The planes of the instances are not those of the volume.", _REEXPORT)


def _numbers(dataset: Dataset, keyword: str) -> np.ndarray:
    return np.array([float(value) for value in dataset.get(keyword) or ()])
