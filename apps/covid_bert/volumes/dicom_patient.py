"""Whose study DICOM files are: read to be hashed at once, never to be shown or written."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from covid_bert.errors import InputError, UnreadableFileError
from covid_bert.volumes.archive import unpacked
from covid_bert.volumes.dicom_files import guarded, is_dicom, read_header_of
from covid_bert.volumes.dicom_headers import files_below

_TAGS = ["PatientID", "IssuerOfPatientID"]
# What programs that remove names, and people who fill in forms, put in place of an identifier: it is that of many
# persons. Without punctuation, spaces and case.
PLACEHOLDERS = frozenset(
    {
        *(
            "anon",
            "anonym",
            "anonyme",
            "anonymous",
            "anonymized",
            "anonymised",
            "anonymizedpatient",
            "anonymouspatient",
        ),
        *("deid", "deidentified", "pseudonym", "pseudonymized", "pseudonymised", "redacted", "removed", "deleted"),
        *("hidden", "masked", "confidential", "private", "blank", "empty", "missing", "default", "dummy", "example"),
        *("none", "null", "nil", "nan", "na", "notapplicable", "notavailable", "notgiven", "notknown", "notprovided"),
        *(
            "unknown",
            "unk",
            "unbekannt",
            "unnamed",
            "undefined",
            "unspecified",
            "inconnu",
            "desconocido",
            "sconosciuto",
        ),
        *("test", "testpatient", "patienttest", "testing", "sample", "demo", "phantom", "noname", "nobody", "noid"),
        *("patient", "patientid", "patientname", "pat", "subject", "person", "name", "id", "study", "case"),
    }
)


def patients_of(path: Path) -> frozenset[str]:
    """Return whom the DICOM files of a study name: identifier and issuer of each patient.

    Parameters
    ----------
    path
        Folder or zip file; anything else names nobody.

    Returns
    -------
    frozenset[str]
        Mostly one; empty where no file has an identifier, or only one that stands for nobody. They identify persons:
        hash them, and keep them out of files and logs.
    """
    if path.is_dir():
        return frozenset(patient for file in files_below(path) if (patient := patient_of(file)))
    if path.name.lower().endswith(".zip"):
        try:
            with unpacked(path) as folder:
                return patients_of(folder)
        except InputError:
            # Whoever reads it is told; its bytes still say which other file is the same.
            return frozenset()
    return frozenset()


def names_somebody(identifier: str) -> bool:
    """Return whether an identifier can be that of one person: not one of `PLACEHOLDERS`, nor nothing but 0 or X."""
    normal = unicodedata.normalize("NFKC", identifier).casefold()
    plain = "".join(character for character in normal if character.isalnum())
    return bool(plain.strip("0")) and bool(plain.strip("x")) and plain not in PLACEHOLDERS


def patient_of(file: Path) -> str:
    """Return identifier and issuer of the patient of one file; empty as for `patients_of`."""
    if not is_dicom(file):
        return ""
    try:
        dataset = read_header_of(file, _TAGS)
        identifier, issuer = guarded(file, lambda: [str(dataset.get(tag) or "").strip().casefold() for tag in _TAGS])
    except UnreadableFileError:
        return ""
    return f"{issuer}\0{identifier}" if names_somebody(identifier) else ""
