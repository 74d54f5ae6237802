"""What all objects of a result have in common: patient, study, equipment, times, and that they are research."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from covid_bert import __version__
from covid_bert.report.dicom.attributes import UTF8
from covid_bert.report.dicom.source import DicomSource

MANUFACTURER = "covid-bert"
_LONGEST_TEXT = 64
# Their kinds, in the order in which they are written, with the numbers of their series.
SERIES_NUMBERS = {"lungs": 9001, "lesions": 9002, "measurements": 9003, "report": 9004, "picture": 9005}


def short(text: str) -> str:
    """Cut a text to the 64 characters of DICOM's short texts (VR LO)."""
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 3] + "..."


def own_series(kind: str, series_uid: str, instance_uid: str) -> dict[str, Any]:
    """Return what places an object into a series of its own.

    Parameters
    ----------
    kind
        One of `SERIES_NUMBERS`.
    series_uid, instance_uid
        Its UIDs.
    """
    return {
        "series_instance_uid": series_uid,
        "series_number": SERIES_NUMBERS[kind],
        "sop_instance_uid": instance_uid,
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "transfer_syntax_uid": ExplicitVRLittleEndian,
        "content_qualification": "RESEARCH",
    }


def equipment(model: str, device: str) -> dict[str, Any]:
    """Return what names the device that made an object.

    Parameters
    ----------
    model
        System or method.
    device
        UID of the device, which changes with its weights.
    """
    return {
        "manufacturer_model_name": short(model),
        "software_versions": __version__,
        "device_serial_number": short(device),
    }


def finish(dataset: Dataset, source: DicomSource, description: str, created: datetime) -> None:
    """Put an object into the patient's study and give it the times of its result.

    Parameters
    ----------
    dataset
        The object, which is changed.
    source
        The series that it was made of.
    description
        Of its series; that it is research is added.
    created
        When the result was computed, with its time zone. Times are written in the zone of the source, or else of this
        computer, as all times of the study are.
    """
    dataset.update(source.patient)
    dataset.SpecificCharacterSet = UTF8
    dataset.SeriesDescription = short(f"{description} (research use only)")
    local = created.astimezone(_zone(source))
    date, time = local.strftime("%Y%m%d"), local.strftime("%H%M%S")
    for keyword in ("SeriesDate", "ContentDate", "InstanceCreationDate"):
        setattr(dataset, keyword, date)
    for keyword in ("SeriesTime", "ContentTime", "InstanceCreationTime"):
        setattr(dataset, keyword, time)
    if "DateOfSecondaryCapture" in dataset:
        dataset.DateOfSecondaryCapture, dataset.TimeOfSecondaryCapture = date, time


def _zone(source: DicomSource) -> timezone | None:
    offset = source.patient.get("TimezoneOffsetFromUTC")
    if not offset:
        return None
    minutes = int(offset[1:3]) * 60 + int(offset[3:])
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))
