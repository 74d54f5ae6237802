"""What an archive lists, in DICOM's JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from covid_bert.volumes.dicom_files import guarded
from covid_bert.volumes.dicom_headers import HEADER_TAGS, SliceHeader, headers_of

_PLACE = Path("image of the archive")
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


@dataclass(frozen=True)
class ListedSeries:
    """A series as the archive lists it.

    Parameters
    ----------
    study, series
        StudyInstanceUID and SeriesInstanceUID.
    instances
        Number of its images; None where the archive does not say.
    modality, body_part, description, protocol, study_description
        As stored; empty where missing. Free text may name a patient: it is for decisions only, never told or kept.
    """

    study: str
    series: str
    instances: int | None
    modality: str
    body_part: str = ""
    description: str = field(default="", repr=False)
    protocol: str = field(default="", repr=False)
    study_description: str = field(default="", repr=False)


def is_uid(text: str) -> bool:
    """Return whether a text is a DICOM identifier, which may become part of an address."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def data_sets(answer: Any) -> list[dict[str, Any]]:
    """Return an answer's data sets.

    Raises
    ------
    ValueError
        If it is no list of data sets.
    """
    if not isinstance(answer, list) or not all(isinstance(item, dict) for item in answer):
        raise ValueError("no list of data sets")
    return answer


def listed_series(item: Mapping[str, Any]) -> ListedSeries | None:
    """Return a series of an answer; None where it has no identifiers that may become part of an address."""
    study, series = text_of(item, "0020000D"), text_of(item, "0020000E")
    if not is_uid(study) or not is_uid(series):
        return None
    stated = text_of(item, "00201209")
    return ListedSeries(
        study,
        series,
        int(stated) if stated.isdecimal() and len(stated) < 9 else None,
        text_of(item, "00080060").upper(),
        *(text_of(item, tag) for tag in ("00180015", "0008103E", "00181030", "00081030")),
    )


def text_of(item: Mapping[str, Any], tag: str) -> str:
    """The first value of an attribute in DICOM's JSON, as text; empty where there is none."""
    attribute = item.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    value = values[0] if isinstance(values, list) and values else ""
    return str(value).strip() if isinstance(value, str | int | float) else ""


def headers_in(found: Mapping[str, Any]) -> list[SliceHeader]:
    """Return the headers of an image by its metadata; names and free text of the patient are not looked at.

    Raises
    ------
    UnreadableFileError
        If they are damaged.
    """

    def parse() -> list[SliceHeader]:
        wanted = {tag: found[tag] for tag in (f"{tag_for_keyword(name):08X}" for name in HEADER_TAGS) if tag in found}
        dataset = pydicom.Dataset.from_json(wanted, bulk_data_uri_handler=lambda *_: b"")
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        return headers_of(dataset, _PLACE)

    return guarded(_PLACE, parse)
