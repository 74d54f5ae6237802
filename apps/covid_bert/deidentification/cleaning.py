"""A data set without identity, made anew from what may be kept of another one."""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import UID_dictionary

from covid_bert.deidentification.profile import Rule, rule_for
from covid_bert.deidentification.project import Project
from covid_bert.volumes.dicom_files import element_of
from covid_bert.volumes.dicom_patient import names_somebody

# Whose values must not be found in any text that is kept.
_IDENTITY = (
    "PatientID", "OtherPatientIDs", "AccessionNumber", "PatientBirthDate", "PatientAddress", "PatientTelephoneNumbers",
    "PatientBirthName", "PatientMotherBirthName", "MedicalRecordLocator", "MilitaryRank", "InstitutionName",
    "InstitutionAddress", "StationName", "PatientComments", "AdmissionID", "Occupation", "OtherPatientNames",
    "DeviceSerialNumber",
)  # fmt: skip
_IDENTITY_TAGS = frozenset(int(tag_for_keyword(keyword) or 0) for keyword in _IDENTITY)
# Shorter pieces of names are pieces of other words, and shorter names are words of every file ("CT").
_SHORTEST, _SHORTEST_NAME = 4, 3
# As long as UIDs are, which would lead back; versions of programs are shorter.
_LIKE_UID = re.compile(r"[0-9][0-9.]{18,}[0-9]")
# Of every image; empty where unknown.
_DEMANDED = (
    "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber",
)  # fmt: skip
_CODE_STRING = re.compile(r"[A-Z0-9_ ]{0,16}")
_TIME = re.compile(r"[0-9]{2,6}(\.[0-9]{1,6})?")
_DATE_DIGITS = 8
# Where a date is demanded. Those of the library lie in the year 1, which dciodvfy takes for no date.
_NO_DATES = {"DA": "19000101", "DT": "19000101000000", "TM": "000000"}
_TEXTS = frozenset({"LO", "SH", "UC", "CS", "IS", "DS"})


@dataclass
class Cleaner:
    """Cleans the data sets of one person.

    Parameters
    ----------
    project
        Gives the pseudonyms.
    person
        Key of the person, as the project hashes it.
    keep_intervals
        Whether dates are moved and kept.
    changes
        How often which attribute was changed, by what was done and keyword. No values.
    """

    project: Project
    person: str
    keep_intervals: bool = False
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)

    def clean(self, source: Dataset, *, dummies: bool) -> Dataset:
        """Return what may be kept of a data set without pixels.

        Parameters
        ----------
        source
            Everything before the pixel data.
        dummies
            Whether the kind of object demands values where CT images may do without.
        """
        cleaned = self._items(source, frozenset(identity_of(source)), dummies)
        cleaned.SpecificCharacterSet = "ISO_IR 192"
        cleaned.PatientName = cleaned.PatientID = self.project.patient(self.person)
        for keyword in _DEMANDED:
            if keyword not in cleaned:
                setattr(cleaned, keyword, "")
        return cleaned

    def _items(self, source: Dataset, identity: frozenset[str], dummies: bool) -> Dataset:
        cleaned = Dataset()
        for tag in sorted(source.keys()):
            element = _readable(source, tag)
            if element is None:
                self._count(Rule.REMOVE, tag)
                continue
            rule = rule_for(tag, element.VR, dummies=dummies, keep_intervals=self.keep_intervals)
            if rule is Rule.KEEP and not _harmless(element, identity):
                rule = Rule.REMOVE
            made = self._made(rule, element, identity, dummies)
            if made is not None:
                cleaned.add(made)
            if rule not in (Rule.KEEP, Rule.DESCEND):
                self._count(rule, tag)
        return cleaned

    def _made(self, rule: Rule, element: DataElement, identity: frozenset[str], dummies: bool) -> DataElement | None:
        if rule is Rule.KEEP:
            return element
        if rule is Rule.DESCEND:
            items = [self._items(item, identity, dummies) for item in element.value or ()]
            return DataElement(element.tag, "SQ", Sequence(items))
        if rule is Rule.EMPTY:
            return DataElement(element.tag, element.VR, [] if element.VR == "SQ" else None)
        if rule is Rule.UID:
            return DataElement(element.tag, "UI", _each(element.value, self._uid))
        if rule is Rule.DATE:
            return DataElement(
                element.tag, element.VR, _each(element.value, lambda text: self._moved(text, element.VR))
            )
        return _dummy(element) if rule is Rule.DUMMY else None

    def _uid(self, original: str) -> str:
        # Kinds of objects, syntaxes, and other UIDs that the standard itself gives.
        return original if not original or original in UID_dictionary else self.project.uid(original)

    def _moved(self, text: str, vr: str) -> str:
        """Return a date that lies some days before; empty where it is no date. Times of the day stay."""
        text = text.strip()
        if vr == "TM":
            return text if _TIME.fullmatch(text) else ""
        day, time = text[:_DATE_DIGITS], text[_DATE_DIGITS:]
        try:
            moved = datetime.datetime.strptime(day, "%Y%m%d") - datetime.timedelta(self.project.days(self.person))
        except (ValueError, OverflowError):
            return ""
        # The offset from UTC tells of a place.
        time = re.split(r"[+-]", time)[0]
        return f"{moved:%Y%m%d}".rjust(_DATE_DIGITS, "0") + (time if _TIME.fullmatch(time) else "")

    def _count(self, rule: Rule, tag: BaseTag) -> None:
        name = "private attributes" if tag.is_private else keyword_for_tag(tag) or "unknown attributes"
        self.changes[rule.value, name] += 1


def identity_of(source: Dataset) -> Iterator[str]:
    """Yield the words, in small letters, that say who the person is, from the whole of a data set."""
    # A data set yields its elements, and would stop at the first one that it cannot parse.
    for tag in list(source.keys()):
        element = _readable(source, tag)
        if element is None:
            continue
        if element.VR == "SQ":
            for item in element.value or ():
                yield from identity_of(item)
        elif element.VR == "PN" or int(tag) in _IDENTITY_TAGS:
            for text in _texts(element.value):
                words = re.split(r"[\W_]+", text) if element.VR == "PN" else [text]
                least = _SHORTEST_NAME if element.VR == "PN" else _SHORTEST
                yield from (word for word in words if len(word) >= least and names_somebody(word))


def _readable(source: Dataset, tag: BaseTag) -> DataElement | None:
    """Return an attribute; None where its value cannot be read."""
    try:
        return element_of(source, tag)
    except MemoryError:
        raise
    except Exception:  # pydicom raises errors of every kind on damaged values
        return None


def _harmless(element: DataElement, identity: frozenset[str]) -> bool:
    if element.VR not in _TEXTS:
        return True
    texts = list(_texts(element.value))
    if element.VR == "CS" and not all(_CODE_STRING.fullmatch(text.upper()) for text in texts):
        return False
    if element.VR in ("IS", "DS") and not all(_is_number(text) for text in texts):
        return False
    if element.VR in ("IS", "DS"):
        return True
    return not any(_LIKE_UID.search(text) or any(_says(text, word) for word in identity) for text in texts)


def _says(text: str, word: str) -> bool:
    """Whether a text has a word of the identity in it.

    Numbers and short names count between other characters than letters and digits only, or codes would be hit.
    """
    if len(word) >= _SHORTEST and not any(character.isdigit() for character in word):
        return word in text
    return re.search(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])", text) is not None


def _is_number(text: str) -> bool:
    try:
        float(text or 0)
    except ValueError:
        return False
    return True


def _texts(value: Any) -> Iterator[str]:
    for each in value if isinstance(value, MultiValue | list) else [value]:
        yield "" if each is None else unicodedata.normalize("NFKC", str(each)).strip().casefold()


def _each(value: Any, change: Any) -> Any:
    if isinstance(value, MultiValue | list):
        return [change(str(each)) for each in value]
    return change("" if value is None else str(value))


def _dummy(element: DataElement) -> DataElement | None:
    """Return a value that says nothing; None where there is none for such a value."""
    if element.VR in _NO_DATES:
        return DataElement(element.tag, element.VR, _NO_DATES[element.VR])
    from dicomanonymizer.simpledicomanonymizer import replace_element

    made = deepcopy(element)
    try:
        replace_element(made)
    except NotImplementedError:
        return None
    return made
