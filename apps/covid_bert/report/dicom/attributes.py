"""What results take over of their source: who the patient is, which study it is, and where the planes lie."""

from __future__ import annotations

import contextlib
import re

from pydicom import config
from pydicom.datadict import dictionary_VM
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.valuerep import DS, PersonName, validate_value

from covid_bert.volumes.dicom_frames import Frame

UTF8 = "ISO_IR 192"
# Of a distance in mm: what fits into the 16 characters of a decimal string.
_DECIMALS = 6
# By these an archive finds the patient, and whatever results refer to: they are taken over as they are. UIDs that DICOM
# does not allow, too long or with a leading zero, are common; others in their place would name nothing.
_IDENTITY = {"PatientName", "PatientID", "IssuerOfPatientID", "AccessionNumber"}
_UIDS = {"StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID"}
# Times are computed with the zone of the source.
_ZONE = re.compile(r"[+-](0[0-9]|1[0-4])[0-5][0-9]")
# Empty where they are unknown (type 2).
_EXPECTED = [
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
]  # fmt: skip
_OF_PATIENT_AND_STUDY = [
    *_EXPECTED, "IssuerOfPatientID", "StudyInstanceUID", "StudyDescription", "PatientAge", "PatientSize",
    "PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence",
    "IssuerOfAccessionNumberSequence", "LongitudinalTemporalInformationModified", "TimezoneOffsetFromUTC",
]  # fmt: skip
_OF_INSTANCE = [
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "FrameOfReferenceUID", "Rows",
    "Columns", "SliceThickness", "InstanceNumber",
]  # fmt: skip
_GEOMETRY = ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"]
_LOSSY = ["LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"]
# What is read of a file; its pixels and everything else stay where they are.
ATTRIBUTES = [
    *_OF_PATIENT_AND_STUDY, *_OF_INSTANCE, *_GEOMETRY, *_LOSSY, "SpecificCharacterSet", "NumberOfFrames",
    "BurnedInAnnotation", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip


def patient_and_study(raw: Dataset) -> Dataset:
    """Return what says whose study it is, as Unicode text and in valid values only.

    Parameters
    ----------
    raw
        An instance as it was read, in its own character set and byte order.

    Returns
    -------
    Dataset
        What must not be missing is there, empty where it was missing. Values that DICOM does not allow are left out,
        except those by which an archive finds patient and study.
    """
    # Decoding thousands of frames takes seconds.
    raw.pop("PerFrameFunctionalGroupsSequence", None)
    # Text in a character set that its file does not name is read as far as it can be.
    with contextlib.suppress(LookupError, ValueError):
        raw.decode()
    kept = _taken(raw, _OF_PATIENT_AND_STUDY)
    for keyword in _EXPECTED:
        if keyword not in kept:
            setattr(kept, keyword, "")
    if kept.PatientSex not in ("M", "F", "O"):
        kept.PatientSex = ""
    if not _ZONE.fullmatch(str(kept.get("TimezoneOffsetFromUTC", ""))):
        kept.pop("TimezoneOffsetFromUTC", None)
    # A study without names says how they were removed.
    if not (kept.get("DeidentificationMethod") or kept.get("DeidentificationMethodCodeSequence")):
        kept.pop("PatientIdentityRemoved", None)
    return kept


def plane_of(image: Dataset | Frame, frame_of_reference: str, distance: float) -> Dataset:
    """Return a slice as results refer to it: the UIDs of its instance and its plane, and nothing of the patient.

    Parameters
    ----------
    image
        An instance as it was read, or a frame of it, which then looks like an instance of its own.
    frame_of_reference
        UID for an instance without one.
    distance
        Of neighbouring slices in mm, from their positions: what headers say of it is often missing or wrong.

    Returns
    -------
    Dataset
        What it must not lack of patient and study is there and empty: libraries put values that they find odd into
        logs and warnings.
    """
    raw = _alone(image) if isinstance(image, Frame) else image
    plane = _taken(raw, _OF_INSTANCE)
    for keyword in _GEOMETRY:
        # Numbers of more than the 16 characters that DICOM allows are common, and are no reason to lose a plane.
        with contextlib.suppress(ValueError, TypeError, KeyError):
            setattr(plane, keyword, [DS(float(value), auto_format=True) for value in raw[keyword].value])
    for keyword in _EXPECTED:
        setattr(plane, keyword, "")
    if not plane.get("FrameOfReferenceUID"):
        plane.FrameOfReferenceUID = frame_of_reference
    plane.SpacingBetweenSlices = round(distance, _DECIMALS)
    thickness = plane.get("SliceThickness")
    if not thickness or thickness <= 0:
        plane.SliceThickness = plane.SpacingBetweenSlices
    if all(raw.get(keyword) for keyword in _LOSSY):
        plane.update(_taken(raw, _LOSSY))
    return plane


def _alone(frame: Frame) -> Dataset:
    """Return a frame's attributes where a single slice has them."""
    alone = Dataset()
    for keyword in (*_OF_INSTANCE, *_GEOMETRY, *_LOSSY):
        # As in `_taken`: a number that is none is no value.
        with contextlib.suppress(ValueError, TypeError):
            value = frame.get(keyword)
            if value is not None:
                setattr(alone, keyword, value)
    return alone


def _taken(raw: Dataset, keywords: list[str]) -> Dataset:
    kept = Dataset()
    for keyword in keywords:
        # A value that cannot be read as its type is no value.
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError, NotImplementedError):
            element = raw[keyword]
            value = _unicode(element.value)
            if keyword in _IDENTITY or _is_usable(keyword, element.VR, value):
                setattr(kept, keyword, value)
    return kept


def _unicode(value: object) -> object:
    """Return a value that does not remember the bytes that it was read from."""
    if isinstance(value, PersonName):
        return PersonName(str(value))
    if isinstance(value, Sequence):
        items = []
        for item in value:
            copy = Dataset()
            for element in item:
                copy.add_new(element.tag, element.VR, _unicode(element.value))
            items.append(copy)
        return Sequence(items)
    return value


def _is_usable(keyword: str, vr: str, value: object) -> bool:
    # A sequence is a MultiValue, too.
    if vr != "SQ" and isinstance(value, MultiValue) and dictionary_VM(keyword) == "1":
        return False
    return keyword in _UIDS or _is_valid(vr, value)


def _is_valid(vr: str, value: object) -> bool:
    if isinstance(value, Sequence):
        return all(_is_valid(element.VR, element.value) for item in value for element in item)
    values = value if isinstance(value, MultiValue) else [value]
    try:
        for each in values:
            validate_value(vr, str(each) if vr in ("DS", "IS", "PN") else each, config.RAISE)
    except ValueError:
        return False
    return True
