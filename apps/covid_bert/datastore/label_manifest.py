"""What an exported label set says of itself: its first member, and the only one with names."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from covid_bert.datastore.information import LABEL_BYTES, checked
from covid_bert.datastore.names import MASK_SUFFIXES, LabelTag
from covid_bert.datastore.scan import STUDY_LABEL_SUFFIX
from covid_bert.datastore.versions import Version
from covid_bert.errors import ArchiveError, ParameterError
from covid_bert.retraining.cases import Part

MANIFEST_NAME = "manifest.json"
LARGEST_MANIFEST = 2**28
AGAIN = "Export the label set once more; nothing was changed."
FILE_NAME = re.compile(r"files/[0-9a-f]{64}")
# Clocks of two servers differ.
_TOLERATED_FUTURE = timedelta(days=1)
_MOST_VERSIONS = 100_000
_SHA256 = r"^[0-9a-f]{64}$"


def _author(text: str) -> str:
    if not text.isprintable():
        raise ValueError("not printable")
    return text


def _past(text: str) -> str:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None or time > datetime.now(timezone.utc) + _TOLERATED_FUTURE:
        raise ValueError("no time of the past")
    return text


def _information(info: dict[str, Any]) -> dict[str, Any]:
    try:
        return checked(info, LABEL_BYTES)
    except ParameterError as error:
        raise ValueError("no information") from error


class ExportedVersion(BaseModel):
    """One version of a label; parameters as in `covid_bert.datastore.versions.Version`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tag: LabelTag
    author: Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_author)]
    created: Annotated[str, Field(max_length=64), AfterValidator(_past)]
    removed: bool = False
    suffix: str = ""
    sha256: str = ""
    size: int = Field(default=0, ge=0)
    info: Annotated[dict[str, Any], AfterValidator(_information)] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits(self) -> ExportedVersion:
        suffixes = (STUDY_LABEL_SUFFIX,) if self.tag is LabelTag.STUDY else MASK_SUFFIXES
        if self.removed and (self.suffix or self.sha256 or self.size):
            raise ValueError("a removal has no file")
        if not self.removed and (self.suffix not in suffixes or re.fullmatch(_SHA256, self.sha256) is None):
            raise ValueError("no file of a label")
        return self

    @classmethod
    def of(cls, tag: LabelTag, version: Version) -> ExportedVersion:
        """Return what leaves the folder of a version: of what a client has said, the names of labels only.

        Raises
        ------
        pydantic.ValidationError
            If the version's record is damaged.
        """
        info: dict[str, Any] = {key: version.info[key] for key in ("model", "label_info") if key in version.info}
        params = version.info.get("params")
        if isinstance(params, dict) and isinstance(params.get("label_names"), dict):
            info["params"] = {"label_names": params["label_names"]}
        facts = version.model_dump(include={"author", "created", "removed", "suffix", "sha256", "size"})
        return cls(tag=tag, info=info, **facts)

    def version(self) -> Version:
        """Return the record; its number is given where it is kept."""
        return Version(number=1, **self.model_dump(exclude={"tag"}))


class ExportedCase(BaseModel):
    """One image, known by its content only, with all versions of all its labels.

    Parameters
    ----------
    image_sha256
        Of its content; see `covid_bert.datastore.image_facts`.
    part
        Of the frozen split, which thus holds wherever the set is brought; None where it has none yet.
    versions
        The first one first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_sha256: str = Field(pattern=_SHA256)
    part: Part | None
    versions: tuple[ExportedVersion, ...] = Field(min_length=1, max_length=_MOST_VERSIONS)


class LabelManifest(BaseModel):
    """The first member of an exported label set.

    Parameters
    ----------
    schema_version
        Of this form.
    covid_bert
        Version of the program that made it.
    created
        ISO 8601, UTC.
    cases
        By the content of their images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    covid_bert: str = Field(max_length=64)
    created: str = Field(max_length=64)
    cases: tuple[ExportedCase, ...]

    @property
    def files(self) -> dict[str, int]:
        """Size in bytes by SHA-256 of all files."""
        return {one.sha256: one.size for case in self.cases for one in case.versions if not one.removed}

    @classmethod
    def read(cls, content: bytes) -> LabelManifest:
        """Read a manifest that came from elsewhere.

        Raises
        ------
        ArchiveError
            If it is damaged, or names an image or a file in two ways.
        """
        try:
            manifest = cls.model_validate_json(content)
        except (ValidationError, RecursionError) as error:
            raise ArchiveError("The manifest of the label set is damaged, or of a newer version.", AGAIN) from error
        images = {case.image_sha256 for case in manifest.cases}
        files = {(one.sha256, one.size) for case in manifest.cases for one in case.versions if not one.removed}
        if len(images) != len(manifest.cases) or len(files) != len(manifest.files):
            raise ArchiveError("The manifest of the label set contradicts itself.", AGAIN)
        return manifest
