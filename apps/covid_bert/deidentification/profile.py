"""What the Basic Application Confidentiality Profile (DICOM PS3.15, Table E.1-1) does with each attribute.

The table comes from the package dicom-anonymizer, which takes it from the standard's text. What the table does not name
is kept only if it cannot hold free text, or is one of a few technical texts: the profile asks to look at everything.
"""

from __future__ import annotations

import functools
from enum import Enum

from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword
from pydicom.tag import BaseTag, Tag

TABLE_NAME = "dicomfields_2026c"
TABLE_EDITION = "2026c"
_CURVES, _OVERLAYS = 0x5000, 0x6000


class Rule(Enum):
    """What becomes of an attribute."""

    REMOVE = "removed"
    EMPTY = "emptied"
    DUMMY = "replaced by a dummy"
    UID = "UID replaced"
    DATE = "date moved"
    DESCEND = "cleaned item by item"
    KEEP = "kept"


# Technical texts, of those that the table does not name. All other texts go.
_KEPT_TEXTS = frozenset(
    {
        *("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "ConvolutionKernel", "FilterType"),
        *("RescaleType", "StackID", "DimensionDescriptionLabel", "AlgorithmName", "AlgorithmVersion"),
        *("CodeValue", "LongCodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning"),
        *("SegmentLabel", "SegmentAlgorithmName"),
    }
)
# Display alone, equipment of others, or text of a reader; the table leaves them.
_REMOVED = frozenset(
    {
        *("ContributingEquipmentSequence", "VOILUTSequence", "DataSetTrailingPadding", "GraphicAnnotationSequence"),
        # The name that belongs to this UID is free text, and neither may stand alone.
        "TrackingUID",
        *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
        *("LongitudinalTemporalInformationModified", "SpecificCharacterSet"),
    }
)
_EMPTIED = frozenset({"PositionReferenceIndicator", "ContentDescription"})
# The pixels are written anew; what describes other ways to write them goes.
_OF_PIXELS = frozenset({"PixelData", "FloatPixelData", "DoubleFloatPixelData", "ExtendedOffsetTable"})
# Attributes of birth stay away with any option.
_BIRTH = frozenset({"PatientBirthDate", "PatientBirthTime", "PatientBirthDateInAlternativeCalendar"})
_DATES = frozenset({"DA", "DT", "TM"})
_PLAIN = frozenset({"AT", "CS", "DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV", "US or SS"})
_TEXTS = frozenset({"LO", "SH", "UC"})


def rule_for(tag: BaseTag, vr: str, *, dummies: bool, keep_intervals: bool) -> Rule:
    """Return what becomes of an attribute, at the top or within a sequence.

    Parameters
    ----------
    tag
        The attribute.
    vr
        Its value representation, as the file has it.
    dummies
        Whether the kind of object demands values where CT images may do without.
    keep_intervals
        Whether dates are moved and kept (option Retain Longitudinal Temporal Information With Modified Dates).
    """
    # Private and unknown attributes, and those whose value is not of their kind, may hold anything.
    if tag.is_private or tag.element == 0 or not dictionary_has_tag(tag) or not _fits(tag, vr):
        return Rule.REMOVE
    if tag.group & 0xFF00 in (_CURVES, _OVERLAYS) or tag in _tags(_REMOVED | _OF_PIXELS):
        return Rule.REMOVE
    if tag in _tags(_EMPTIED):
        return Rule.EMPTY
    actions = _table().get(tag)
    if vr == "UI":
        # Also those that the table does not name: any of them may lead back.
        return Rule.REMOVE if actions == "X" else Rule.UID
    if keep_intervals and actions is not None and vr in _DATES and tag not in _tags(_BIRTH):
        return Rule.DATE
    if actions is not None:
        return _chosen(actions, vr, dummies=dummies)
    if vr == "SQ":
        return Rule.DESCEND
    return Rule.KEEP if vr in _PLAIN or (vr in _TEXTS and tag in _tags(_KEPT_TEXTS)) else Rule.REMOVE


def _chosen(actions: str, vr: str, *, dummies: bool) -> Rule:
    """Choose among the actions that the table allows, the strictest one that the kind of object bears."""
    if "U" in actions:  # sequences of references, which are needed to tell what a segmentation is of
        return Rule.DESCEND if vr == "SQ" else Rule.UID
    if "X" in actions and not (dummies and len(actions) > 1):
        return Rule.REMOVE
    if vr == "SQ":
        return Rule.EMPTY
    if "D" in actions and (dummies or actions == "D"):
        return Rule.DUMMY
    return Rule.EMPTY


def _fits(tag: BaseTag, vr: str) -> bool:
    allowed = dictionary_VR(tag)
    return vr == allowed or vr in allowed.split(" or ")


@functools.cache
def _tags(keywords: frozenset[str]) -> frozenset[int]:
    return frozenset(int(tag_for_keyword(keyword) or 0) for keyword in keywords)


@functools.cache
def _table() -> dict[BaseTag, str]:
    """Return the letters of the actions of each attribute; repeating groups are dealt with on their own."""
    from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector

    database = dicom_anonymization_database_selector(TABLE_NAME)
    groups = {"D": "D", "Z": "Z", "X": "X", "U": "U", "Z_D": "ZD", "X_Z": "XZ", "X_D": "XD", "X_Z_D": "XZD"}
    table = {}
    for name, letters in {**groups, "X_Z_U_STAR": "XZU"}.items():
        table.update({Tag(tag): letters for tag in database[f"{name}_TAGS"] if len(tag) == 2})
    return table
