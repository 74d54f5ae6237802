"""What an image is known by, whatever its name: its content, and whose it is, as keyed hashes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from covid_bert.datastore.checks import state_of
from covid_bert.errors import OutputError
from covid_bert.files import write_atomically
from covid_bert.retraining.derived import marked
from covid_bert.retraining.split import FrozenSplit
from covid_bert.volumes.dicom_files import is_dicom
from covid_bert.volumes.dicom_headers import files_below
from covid_bert.volumes.dicom_patient import names_somebody, patients_of
from covid_bert.volumes.study_files import header_facts, voxels_apart
from covid_bert.weights.files import sha256_of

_FACTS_NAME = "images"
_PATIENT = "patient"
_KEY = re.compile(r"patient:[0-9a-f]{64}")
_LONGEST_PATIENT = 256


class ImageFacts(BaseModel):
    """What is known of an image's content.

    Parameters
    ----------
    sha256
        Of the file, or of all files of a folder; equal for equal studies under different names.
    keys
        Of the person, by `FrozenSplit.key`: of the content first, then those of the DICOM files.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    keys: tuple[str, ...] = Field(min_length=1)


def image_facts(image: Path, split: FrozenSplit, cache: Path) -> ImageFacts:
    """Return an image's content hash and the keys of its person; an unchanged image is not read again.

    Parameters
    ----------
    image
        File or folder.
    split
        Makes the keys.
    cache
        Folder in which what was found is kept; nothing in it names a file or a person.

    Raises
    ------
    OSError
        If the image cannot be read.
    OutputError
        If the cache cannot be written.
    """
    voxels = voxels_apart(image)
    states = (state_of(image), state_of(voxels) if voxels is not None else ())
    state = split.key("image", repr(states)).partition(":")[2]
    kept = cache / _FACTS_NAME / marked(image, f"{state}.json")
    with contextlib.suppress(FileNotFoundError, ValidationError):
        return ImageFacts.model_validate_json(kept.read_bytes())
    sha256, content = content_of(image)
    patients = sorted(split.key("dicom", patient) for patient in patients_of(image))
    facts = ImageFacts(sha256=sha256, keys=(split.key("image", content), *patients))
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, facts.model_dump_json())
    except OSError as error:
        raise OutputError(
            f"What was found in an image cannot be kept: {error.strerror}.",
            "Make room on the disk, or allow this user to write into the data folder.",
        ) from error
    return facts


def hidden_patient(info: Mapping[str, Any], split: Callable[[], FrozenSplit]) -> dict[str, Any]:
    """Return an image's information with the patient's key in place of what a client calls the patient.

    Parameters
    ----------
    info
        As it was sent.
    split
        Opens what makes the key; not called where no patient is named, or by a key.
    """
    stated = info.get(_PATIENT)
    if isinstance(stated, bool) or not isinstance(stated, str | int) or _KEY.fullmatch(str(stated)) is not None:
        return dict(info)
    text = _plain(stated)
    return {**info, _PATIENT: split().key("patient", text) if names_somebody(text) else ""}


def stated_patient(entry: Mapping[str, Any], split: FrozenSplit) -> tuple[str, ...]:
    """Return the key of the patient whom a client named in an image's information (``patient``), or nothing.

    Parameters
    ----------
    entry
        The study's entry in the index.
    split
        Makes the key.
    """
    # What was kept before patients were hidden, or put into the index by hand, is hidden here.
    key = hidden_patient(entry["image"]["info"], lambda: split).get(_PATIENT)
    return (key,) if isinstance(key, str) and key else ()


def _plain(stated: str | int) -> str:
    return str(stated).strip().casefold()[:_LONGEST_PATIENT]


def content_of(image: Path) -> tuple[str, str]:
    """Return the SHA-256 of an image, and that of what shows whose it is: the same without order and names of files.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    if image.is_dir():
        files = list(files_below(image))
        if not files:
            # Not fetched yet from where they come from: all such would be one and the same study.
            raise FileNotFoundError(errno.ENOENT, "The folder of a study is empty")
        digests = {file: sha256_of(file) for file in files}
        content = _digest(sorted(digests.values()))
        if any(is_dicom(file) for file in files[:1]):
            return content, content
        # Slice images lie in the order of their names.
        return _digest([f"{file.relative_to(image)} {digests[file]}" for file in files]), content
    voxels = voxels_apart(image)
    sha256 = sha256_of(image) if voxels is None else _digest([header_facts(image), sha256_of(voxels)])
    return sha256, sha256


def _digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
