"""Names that may become parts of paths: ids of studies, tags of labels, suffixes of files."""

from __future__ import annotations

import hashlib
import re
from enum import Enum
from typing import Any

from covid_bert.errors import ParameterError, UnreadableFileError

STUDY_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".zip")
# A header whose pixels lie in another file could name the file of another study.
UPLOAD_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".zip")
# Of the folder, among other temporary ones, in which the server keeps the file of a request.
UPLOAD_PREFIX = "covid-bert-upload-"
MASK_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
_IDENTIFIER = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_ODD_CHARACTER = re.compile(r"[^A-Za-z0-9._-]")
_LONGEST_STEM = 100


class LabelTag(str, Enum):
    """Where a label belongs: two kinds of masks, and the study's class."""

    FINAL = "final"
    ORIGINAL = "original"
    STUDY = "study"


MASK_TAGS = (LabelTag.FINAL, LabelTag.ORIGINAL)


def is_identifier(text: str) -> bool:
    """Return whether a text may be a study's id: 1 to 128 letters, digits, '.', '_' and '-', no dot at its start."""
    return _IDENTIFIER.fullmatch(text) is not None


def check_identifier(text: str) -> str:
    """Return a study's id that a user chose.

    Raises
    ------
    ParameterError
        If it may not be one.
    """
    if not is_identifier(text):
        raise ParameterError(
            "That cannot be the id of a study.", "Use 1 to 128 letters, digits, '.', '_' and '-', no dot in front."
        )
    return text


def identifier_of(stem: str) -> str:
    """Return the id of a study by its file's name without suffix: the name itself where it may be one.

    Other names get the digits of a hash behind what is left of them, so that two never become equal.
    """
    if is_identifier(stem):
        return stem
    digest = hashlib.sha256(stem.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    plain = _ODD_CHARACTER.sub("_", stem)[:_LONGEST_STEM].lstrip(".")
    return f"{plain or 'study'}-{digest}"


def split_name(name: str, suffixes: tuple[str, ...] = STUDY_SUFFIXES) -> tuple[str, str]:
    """Split a file's name into what comes before a known suffix, and that suffix; the second is empty without one.

    Only the end counts: the dots of a DICOM identifier stay.
    """
    suffix = next((known for known in suffixes if name.endswith(known) and len(name) > len(known)), "")
    return name[: len(name) - len(suffix)], suffix


def required_suffix(name: str, suffixes: tuple[str, ...]) -> str:
    """Return the suffix of a file that arrived.

    Raises
    ------
    UnreadableFileError
        If it is none of `suffixes`.
    """
    # A bare suffix is a name too: clients name temporary files so.
    suffix = split_name(f"x{name}", suffixes)[1]
    if not suffix:
        raise UnreadableFileError("That kind of file is not taken here.", f"Send {', '.join(suffixes)}.")
    return suffix


def check_mask_tag(tag: Any) -> LabelTag:
    """Return the tag for a mask.

    Raises
    ------
    ParameterError
        If it is none; the tag of study labels holds no masks.
    """
    text = getattr(tag, "value", tag)
    for known in MASK_TAGS:
        if text == known.value:
            return known
    raise ParameterError("That is not a tag for masks.", "Use final or original.")
