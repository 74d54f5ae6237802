"""One file without identity: its attributes, its pixels, and what says that it was de-identified."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, SegmentationStorage

from covid_bert import __version__
from covid_bert.deidentification.cleaning import Cleaner
from covid_bert.deidentification.pixels import put_image, put_segmentation
from covid_bert.deidentification.profile import TABLE_EDITION
from covid_bert.errors import UnreadableFileError
from covid_bert.volumes.dicom_files import guarded, read_header_of
from covid_bert.volumes.dicom_headers import is_marked, read_headers

METHOD = f"covid-bert {__version__}: DICOM PS3.15 {TABLE_EDITION} Basic Profile"
_BASIC_PROFILE = ("113100", "Basic Application Confidentiality Profile")
_MODIFIED_DATES = ("113107", "Retain Longitudinal Temporal Information Modified Dates Option")


def write_instance(path: Path, folder: Path, cleaner: Cleaner) -> Path:
    """Write one object without identity.

    Parameters
    ----------
    path
        A file that `risks.not_exported` lets pass.
    folder
        Where the file is written, under its new SOPInstanceUID.
    cleaner
        Of the person.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    UnreadableFileError
        If the file is damaged, or its pixel data cannot be decoded.
    """
    source = read_header_of(path, None)
    cleaned = guarded(path, lambda: _cleaned(path, source, cleaner))
    target = folder / f"{cleaned.SOPInstanceUID}.dcm"
    guarded(path, lambda: _save(cleaned, target))
    return target


def _cleaned(path: Path, source: Dataset, cleaner: Cleaner) -> Dataset:
    cleaned = cleaner.clean(source, dummies=source.SOPClassUID != CTImageStorage)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        if not cleaned.get(keyword):
            raise UnreadableFileError(
                f"The attribute {keyword} of '{path.name}' is missing.", "Export the series again from the PACS."
            )
    if source.SOPClassUID == SegmentationStorage:
        put_segmentation(cleaned, path, str(source.file_meta.TransferSyntaxUID))
    else:
        put_image(cleaned, read_headers(path))
    _mark(cleaned, source, cleaner)
    return cleaned


def _mark(cleaned: Dataset, source: Dataset, cleaner: Cleaner) -> None:
    # Text in the pixels would make it untrue.
    cleaned.PatientIdentityRemoved = "NO" if is_marked(source) else "YES"
    cleaned.DeidentificationMethod = METHOD
    codes = [_BASIC_PROFILE, *([_MODIFIED_DATES] if cleaner.keep_intervals else [])]
    cleaned.DeidentificationMethodCodeSequence = [_code(*code) for code in codes]
    cleaned.LongitudinalTemporalInformationModified = "MODIFIED" if cleaner.keep_intervals else "REMOVED"


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def _save(cleaned: Dataset, target: Path) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = cleaned.SOPClassUID, cleaned.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationVersionName = "COVID-BERT"
    written = FileDataset(str(target), cleaned, file_meta=meta, preamble=bytes(128))
    written.is_little_endian, written.is_implicit_VR = True, False
    correct_ambiguous_vr(written, True)
    if target.exists():
        raise UnreadableFileError(
            "Two files of one series have the same SOPInstanceUID.", "Export the series again from the PACS."
        )
    written.save_as(target, write_like_original=False)
