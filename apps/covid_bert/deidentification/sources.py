"""What is to be exported: the DICOM files below a folder, by study and series."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from os import R_OK, access
from pathlib import Path

from covid_bert.deidentification.risks import IMAGES, burned_in_risks, face_by_header, not_exported
from covid_bert.errors import InputError, UnreadableFileError
from covid_bert.volumes.dicom_files import damaged, guarded, is_dicom, read_header_of
from covid_bert.volumes.dicom_headers import MEDIA_DIRECTORY, files_below
from covid_bert.volumes.dicom_patient import patient_of

_TAGS = [
    "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "ImageType", "BurnedInAnnotation",
    "ConversionType", "SamplesPerPixel", "PhotometricInterpretation", "ModalityLUTSequence", "BodyPartExamined",
    "RecognizableVisualFeatures",
]  # fmt: skip


@dataclass
class SeriesFiles:
    """The files of one series, whether they are images, and what was noticed of any of them."""

    images: bool = False
    files: list[Path] = field(default_factory=list)
    never: set[str] = field(default_factory=set)
    risks: set[str] = field(default_factory=set)
    faces: set[str] = field(default_factory=set)


@dataclass
class StudyFiles:
    """The files of one study.

    Parameters
    ----------
    uid
        StudyInstanceUID.
    series
        By SeriesInstanceUID.
    patients
        Keys of the persons whom the files name.
    """

    uid: str
    series: dict[str, SeriesFiles] = field(default_factory=lambda: defaultdict(SeriesFiles))
    patients: set[str] = field(default_factory=set)

    @property
    def places(self) -> set[Path]:
        """Folders that its files lie in."""
        return {file.parent for series in self.series.values() for file in series.files}

    @property
    def count(self) -> int:
        """Number of files."""
        return sum(len(series.files) for series in self.series.values())


@dataclass
class Found:
    """What lies below a folder.

    Parameters
    ----------
    studies
        In the order of their first files.
    damaged
        Error of the first file of each folder that is damaged or may not be read, and folder.
    others
        Number of files that are not DICOM, and of directory files.
    """

    studies: list[StudyFiles]
    damaged: dict[Path, UnreadableFileError]
    others: int

    def damage_near(self, study: StudyFiles) -> UnreadableFileError | None:
        """Return the error of a damaged file that may belong to a study: it lies beside its files."""
        return next((error for place, error in self.damaged.items() if place in study.places), None)

    @property
    def damage_elsewhere(self) -> list[UnreadableFileError]:
        """Errors of damaged files beside which there is no study."""
        places = {place for study in self.studies for place in study.places}
        return [error for place, error in self.damaged.items() if place not in places]


def find(folder: Path) -> Found:
    """Look at the header of every file below a folder.

    Raises
    ------
    InputError
        If none is DICOM.
    """
    studies: dict[str, StudyFiles] = {}
    errors: dict[Path, UnreadableFileError] = {}
    others = 0
    for file in files_below(folder):
        if not access(file, R_OK):
            # It may be a slice of a study beside it, which would be exported without it.
            errors.setdefault(
                file.parent,
                UnreadableFileError(f"'{file.name}' may not be read.", "Get the right to read it, or take it away."),
            )
            continue
        if not is_dicom(file):
            others += 1
            continue
        try:
            others += not guarded(file, lambda file=file: _add(file, studies))  # type: ignore[misc]
        except UnreadableFileError as error:
            errors.setdefault(file.parent, error)
    if not studies and not errors:
        raise InputError(f"'{folder.name}' holds no DICOM files.", "Give the folder or zip file of DICOM studies.")
    return Found(list(studies.values()), errors, others)


def _add(file: Path, studies: dict[str, StudyFiles]) -> bool:
    """Add a file to its study; False where it is the directory of a medium."""
    header = read_header_of(file, _TAGS)
    kind = str(header.file_meta.get("MediaStorageSOPClassUID", ""))
    # A text may look like DICOM without a file header; with one, it is an object of which something is lost.
    if kind == MEDIA_DIRECTORY or not (len(header) or kind):
        return False
    uid = str(header.get("StudyInstanceUID") or "")
    if not uid:
        raise damaged(file)
    study = studies.setdefault(uid, StudyFiles(uid))
    never = not_exported(header)
    risks, face = burned_in_risks(header), face_by_header(header)
    patient = patient_of(file)
    series = study.series[str(header.get("SeriesInstanceUID") or "")]
    series.files.append(file)
    series.images |= str(header.get("SOPClassUID") or "") in IMAGES
    series.never |= {never} - {""}
    series.risks |= set(risks)
    series.faces |= {face} - {""}
    study.patients |= {patient} - {""}
    return True
