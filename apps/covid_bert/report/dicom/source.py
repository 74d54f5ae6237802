"""The series that results refer to: patient, study and slices, as far as results need them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from nibabel import orientations
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from covid_bert.errors import GeometryError, InputError, NotFoundError
from covid_bert.report.dicom.attributes import ATTRIBUTES, patient_and_study, plane_of
from covid_bert.report.dicom.identity import uid_of
from covid_bert.volumes.archive import unpacked
from covid_bert.volumes.dicom_files import guarded, is_dicom, read_header_of
from covid_bert.volumes.dicom_frames import Frame, frames_of
from covid_bert.volumes.dicom_headers import files_below, is_marked
from covid_bert.volumes.geometry import LPS_TO_RAS
from covid_bert.volumes.volume import Volume

_HEAD_AXIS = 2
# The reader takes tables that jitter by as much, and a share of the distance between slices more.
_SHIFT_MM, _SHIFT_SHARE = 0.6, 0.25
_TILT = 0.02
_REEXPORT = "Export the whole series again from the PACS."


@dataclass(frozen=True)
class Plane:
    """One slice of the series.

    Parameters
    ----------
    dataset
        UIDs of its instance, and where it lies, without pixels or patient.
    frame
        Its number in its instance, from 1 on.
    frames
        How many its instance has: 1 where the instance is one slice.
    """

    dataset: Dataset
    frame: int = 1
    frames: int = 1

    @property
    def frame_numbers(self) -> list[int] | None:
        """What a reference must say beside the UIDs; None where they say it all."""
        return [self.frame] if self.frames > 1 else None


@dataclass(frozen=True)
class DicomSource:
    """One series of a patient's study.

    Parameters
    ----------
    patient
        Patient and study, for the results to take over.
    planes
        Slices, in the order of the volume's own grid (`Volume.native`).
    runs_to_head
        True where that order is foot to head, False where it is head to foot, None where the slices are not axial.
    burned_in
        BurnedInAnnotation of whatever shows its pixels: YES where an instance is marked so, else NO.
    """

    patient: Dataset
    planes: tuple[Plane, ...]
    runs_to_head: bool | None
    burned_in: str = "NO"

    @property
    def instances(self) -> tuple[Dataset, ...]:
        """One data set of each instance: as many as planes, but for multi-frame images."""
        datasets: dict[str, Dataset] = {}
        for plane in self.planes:
            datasets.setdefault(plane.dataset.SOPInstanceUID, plane.dataset)
        return tuple(datasets.values())

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID of the instances."""
        return str(self.planes[0].dataset.SeriesInstanceUID)

    def plane_of(self, index: int) -> Plane | None:
        """Return the plane of a canonical slice (0 at the foot); None where slices are not axial."""
        if self.runs_to_head is None:
            return None
        return self.planes[index if self.runs_to_head else len(self.planes) - 1 - index]

    def image_names(self) -> dict[int, str]:
        """Return what viewers of DICOM call canonical slices: by InstanceNumber, or by the number of the frame."""
        names = {}
        for index in range(len(self.planes)):
            plane = self.plane_of(index)
            if plane is None:
                continue
            if plane.frames > 1:
                names[index] = f"frame {plane.frame}"
            elif plane.dataset.get("InstanceNumber") is not None:
                names[index] = str(plane.dataset.InstanceNumber)
        return names


def references(planes: Iterable[Plane]) -> list[Dataset]:
    """Return items that refer to slices: one for each instance, with numbers of frames where it has others too.

    Parameters
    ----------
    planes
        In the order of the items.
    """
    frames: dict[str, list[Plane]] = {}
    for plane in planes:
        frames.setdefault(plane.dataset.SOPInstanceUID, []).append(plane)
    items = []
    for chosen in frames.values():
        item = Dataset()
        item.ReferencedSOPClassUID = chosen[0].dataset.SOPClassUID
        item.ReferencedSOPInstanceUID = chosen[0].dataset.SOPInstanceUID
        if len(chosen) < chosen[0].frames:
            item.ReferencedFrameNumber = [plane.frame for plane in chosen]
        items.append(item)
    return items


def read_source(volume: Volume) -> DicomSource:
    """Read which instances a volume was made of, and whose they are.

    Parameters
    ----------
    volume
        Read from a folder or zip file of DICOM files, or from one multi-frame file, that is still there.

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
    wanted = set(source.sop_instance_uids)
    with _files(source.path) as files:
        found = {each.uid: each for each in _instances(files, source.series_instance_uid, wanted)}
    missing = sum(uid not in found for uid in source.sop_instance_uids)
    if missing or not all(source.sop_instance_uids):
        raise NotFoundError(
            f"{missing or 'Some'} of the {len(source.sop_instance_uids)} instances of the series have no file or no "
            "SOPInstanceUID.",
            _REEXPORT,
        )
    raw = [found[uid].dataset for uid in dict.fromkeys(source.sop_instance_uids)]
    _check_identity(raw)
    # A series without one has no neighbours in space: its own stays the same for all its results.
    frame_of_reference = uid_of("frame of reference", source.series_instance_uid)
    distance = _distance(volume)
    planes = tuple(
        found[uid].plane(frame, frame_of_reference, distance)
        for uid, frame in zip(source.sop_instance_uids, source.frame_numbers, strict=True)
    )
    _check_places(planes, volume)
    axis, direction = orientations.io_orientation(volume.native.affine)[2]
    burned_in = "YES" if any(is_marked(each) for each in raw) else "NO"
    runs_to_head = bool(direction > 0) if axis == _HEAD_AXIS else None
    return DicomSource(patient_and_study(raw[0]), planes, runs_to_head, burned_in)


def _distance(volume: Volume) -> float:
    """Return the distance in mm of neighbouring slices, along their normal."""
    column, row, step = volume.native.affine[:3, :3].T
    normal = np.cross(column, row)
    return float(abs(step @ normal) / np.linalg.norm(normal))


@contextmanager
def _files(path: Path) -> Iterator[Iterable[Path]]:
    if not path.exists():
        raise NotFoundError("The files of the study are gone.", "Give the study again.")
    if path.is_dir():
        yield files_below(path)
    elif is_dicom(path):
        yield [path]
    else:
        with unpacked(path) as folder:
            yield files_below(folder)


@dataclass(frozen=True)
class _Instance:
    uid: str
    dataset: Dataset
    frames: list[Frame]

    def plane(self, frame: int, frame_of_reference: str, distance: float) -> Plane:
        """Return a slice of it: the only one (0), or a frame (from 1 on)."""
        if frame > len(self.frames):
            raise NotFoundError("A multi-frame image has fewer frames than it had when it was read.", _REEXPORT)
        if not frame:
            return Plane(plane_of(self.dataset, frame_of_reference, distance))
        return Plane(plane_of(self.frames[frame - 1], frame_of_reference, distance), frame, len(self.frames))


def _instances(files: Iterable[Path], series_uid: str, wanted: set[str]) -> Iterator[_Instance]:
    """Yield those instances of a series whose SOPInstanceUIDs are wanted."""
    for file in files:
        if not is_dicom(file):
            continue
        instance = guarded(file, partial(_instance, read_header_of(file, ATTRIBUTES), series_uid, wanted))
        if instance is not None:
            yield instance


def _instance(dataset: Dataset, series_uid: str, wanted: set[str]) -> _Instance | None:
    uid = dataset.get("SOPInstanceUID")
    # Several UIDs in one are no string, and name no instance.
    if not isinstance(uid, str) or uid not in wanted or str(dataset.get("SeriesInstanceUID", "")) != series_uid:
        return None
    return _Instance(str(uid), dataset, frames_of(dataset))


def _check_identity(instances: list[Dataset]) -> None:
    first = instances[0]
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID"):
        if not first.get(keyword) or isinstance(first[keyword].value, MultiValue):
            raise InputError(
                f"{keyword} is missing in the files, or is several: results would belong to no study.", _REEXPORT
            )
        if any(str(each.get(keyword, "")) != str(first[keyword].value) for each in instances):
            raise InputError(f"The instances of the series differ in {keyword}.", _REEXPORT)
    if len({str(each.get("PatientID") or "") for each in instances}) > 1:
        raise InputError("The instances of the series name several patients.", _REEXPORT)


def _check_places(planes: tuple[Plane, ...], volume: Volume) -> None:
    """Refuse planes that are not those of the volume: masks are written plane by plane."""
    lps = LPS_TO_RAS @ volume.native.affine
    axes = (lps[:3, :2] / np.linalg.norm(lps[:3, :2], axis=0)).T.ravel()
    allowed = _SHIFT_MM + _SHIFT_SHARE * float(np.linalg.norm(lps[:3, 2]))
    for index, each in enumerate(planes):
        position, orientation = (
            np.array([float(value) for value in each.dataset.get(keyword) or ()])
            for keyword in ("ImagePositionPatient", "ImageOrientationPatient")
        )
        moved = len(position) != 3 or math.dist(position, lps[:3, 2] * index + lps[:3, 3]) > allowed
        if moved or len(orientation) != 6 or np.abs(orientation - axes).max() > _TILT:
            raise GeometryError("The planes of the instances are not those of the volume.", _REEXPORT)
