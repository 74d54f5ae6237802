"""Which series of an archive are chest CTs that can be classified, and why the others are not.

The list of the archive says little of a series, and body parts are often missing or wrong. What is left open is told by
the header of one image from the series' middle: the first one may be a localizer that was stored with the rest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from covid_bert.pacs.listed import ListedSeries
from covid_bert.volumes.assembly import MIN_SLICES
from covid_bert.volumes.dicom_headers import SliceHeader
from covid_bert.volumes.dicom_selection import LOCALIZERS, SECONDARY_CAPTURE, reason_against

_DOSE_REPORT = "1.2.840.10008.5.1.4.1.1.88.67"
_DOSE_WORDS = frozenset({"DOSE", "DOSIS", "DOSIMETRY", "DLP", "CTDI"})
_REFORMATS = frozenset({"MPR", "REFORMATTED", "MIP", "MINIP", "MAX_IP", "MIN_IP", "VRT", "VR", "3D", "VOLREN",
                        "PROJECTION IMAGE", "CPR", "SSD"})  # fmt: skip
_CHEST = frozenset({"CHEST", "THORAX", "THORACIC", "LUNG", "LUNGS", "PULMONARY", "HRCT", "CAP", "TAP", "TORAX", "THX",
                    "BRUSTKORB", "LUNGE", "POUMON", "WHOLEBODY", "TORSO", "TRUNK", "COVID"})  # fmt: skip
_CHEST_PARTS = ("CHEST", "THORA", "LUNG", "PULMO")
_ELSEWHERE = frozenset({
    *("HEAD", "BRAIN", "SKULL", "CRANIUM", "CEREBRAL", "KOPF", "CRANE", "SINUS", "SINUSES", "ORBIT", "ORBITS"),
    *("TEMPORAL", "FACE", "FACIAL", "DENTAL", "JAW", "NECK", "CERVICAL", "CSPINE", "LSPINE", "LUMBAR", "SPINE"),
    *("ABDOMEN", "ABDOMINAL", "ABD", "PELVIS", "PELVIC", "LIVER", "KIDNEY", "KIDNEYS", "RENAL", "COLON", "BLADDER"),
    *("PROSTATE", "HIP", "KNEE", "FOOT", "ANKLE", "LEG", "LEGS", "EXTREMITY", "SHOULDER", "ELBOW", "WRIST", "HAND"),
    *("ARM", "HEART", "CARDIAC", "CORONARY"),
})  # fmt: skip
# An axial series may be tilted with the gantry, by up to 30 degrees.
_LEAST_AXIAL = 0.8


class Refusal(str, Enum):
    """Why a series is not offered."""

    NOT_CT = "not CT"
    DOSE_REPORT = "dose report"
    LOCALIZER = "localizer"
    SECONDARY_CAPTURE = "secondary capture"
    REFORMAT = "reformat"
    BODY_PART = "another body part"
    TOO_FEW = "too few slices"
    NO_IMAGE = "no image that can be read as CT"
    UNREADABLE = "damaged header"


@dataclass(frozen=True)
class Verdict:
    """Whether a series is offered.

    Parameters
    ----------
    refusal
        Why not; None if it is.
    images
        Slices, or frames, that it has.
    bytes
        What its images take at most where they are not compressed; 0 where that is not known.
    """

    refusal: Refusal | None
    images: int = 0
    bytes: int = 0


def judge_listed(series: ListedSeries) -> Refusal | None:
    """Return why a series cannot be offered, as far as the list tells; None where a header must be looked at."""
    if series.modality == "SR" and _split(series.description) & _DOSE_WORDS:
        return Refusal.DOSE_REPORT
    if series.modality != "CT":
        return Refusal.NOT_CT
    return Refusal.BODY_PART if _is_elsewhere(series) else None


def judge(series: ListedSeries, headers: Sequence[SliceHeader]) -> Verdict:
    """Judge a series.

    Parameters
    ----------
    series
        As the archive lists it.
    headers
        Of one image from its middle, one for each frame.
    """
    if not headers:
        return Verdict(Refusal.NO_IMAGE)
    header = headers[len(headers) // 2]
    images = len(headers) * (series.instances or 0)
    return Verdict(
        _against(series, header) or (Refusal.TOO_FEW if images < MIN_SLICES else None),
        images,
        images * header.rows * header.columns * 2,
    )


def _against(series: ListedSeries, header: SliceHeader) -> Refusal | None:
    kinds = {part.strip().upper() for part in header.image_type}
    words = _split(series.description)
    if header.sop_class_uid == _DOSE_REPORT:
        return Refusal.DOSE_REPORT
    if header.modality != "CT":
        return Refusal.NOT_CT
    if LOCALIZERS & (kinds | words):
        return Refusal.LOCALIZER
    captured = header.sop_class_uid.startswith(SECONDARY_CAPTURE) or "SCREEN SAVE" in kinds
    if captured or header.position is None:
        # What a scanner says of the dose is a picture in a CT series of its own.
        return Refusal.DOSE_REPORT if _DOSE_WORDS & (words | kinds) else Refusal.SECONDARY_CAPTURE
    if reason_against(header):
        return Refusal.NO_IMAGE
    if _REFORMATS & kinds or any(kind.startswith("CSA MPR") for kind in kinds) or not _is_axial(header):
        return Refusal.REFORMAT
    return judge_listed(series)


def _is_axial(header: SliceHeader) -> bool:
    if header.orientation is None:
        return False
    normal = np.cross(header.orientation[:3], header.orientation[3:])
    return abs(float(normal[2])) >= _LEAST_AXIAL * float(np.linalg.norm(normal)) > 0.0


def _is_elsewhere(series: ListedSeries) -> bool:
    """Whether another part of the body is named, and the chest is not, by what is nearest to the series."""
    for text in (f"{series.body_part} {series.description}", series.protocol, series.study_description):
        words = _split(text)
        if words & _CHEST or any(part in word for word in words for part in _CHEST_PARTS):
            return False
        if words & _ELSEWHERE:
            return True
    return False


def _split(text: str) -> set[str]:
    return set(re.split(r"[^A-Z0-9]+", text.upper())) - {""}
