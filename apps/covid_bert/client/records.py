"""What the server says about users, studies and labels, checked field by field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .answers import invalid_answer, plain_text
from .fields import count_field, number_field, text_field
from .names import is_plain_name


@dataclass(frozen=True)
class User:
    """Who a token belongs to.

    Parameters
    ----------
    name
        Of the token; ``"local"`` where the server needs none.
    roles
        What it allows: some of ``"reader"``, ``"annotator"`` and ``"admin"``.
    """

    name: str
    roles: tuple[str, ...]


@dataclass(frozen=True)
class LabelMark:
    """That a study has a label.

    Parameters
    ----------
    author
        Name of the token or model that saved it, ``""`` where the server does not know.
    time
        When, in seconds since 1970 UTC, or None.
    version
        Its number, or None.
    """

    author: str
    time: float | None
    version: int | None


@dataclass(frozen=True)
class Study:
    """One of the server's studies.

    Parameters
    ----------
    id
        Its name on the server.
    suffix
        Kind of its file, for example ``".nii.gz"``; ``""`` for a folder.
    labels
        By their kind: ``"final"``, ``"original"`` or ``"study"``.
    """

    id: str
    suffix: str
    labels: dict[str, LabelMark]


@dataclass(frozen=True)
class LabelVersion:
    """One version of a label.

    Parameters
    ----------
    number
        From 1.
    author
        Name of the token or model that saved it.
    created
        ISO 8601 in UTC.
    removed
        Whether this version says that the label was taken away.
    sha256
        Of its file, ``""`` if it has none.
    """

    number: int
    author: str
    created: str
    removed: bool
    sha256: str


@dataclass(frozen=True)
class StudyLabel:
    """What a reader says about a whole study.

    Parameters
    ----------
    study_class
        ``"covid"``, ``"non-covid"``, ``"normal"`` or ``"other"``.
    certainty
        ``"certain"``, ``"probable"`` or ``"possible"``.
    comment
        At most 2000 characters, which must not name the patient.
    """

    study_class: str
    certainty: str
    comment: str = ""


@dataclass(frozen=True)
class NextStudy:
    """The study to be labelled next.

    Parameters
    ----------
    id
        Its name on the server, which reserved it for who asked.
    note
        What is to be known of the choice, such as that no scores are there yet; ``""`` for nothing.
    """

    id: str
    note: str = ""


def read_user(content: dict[str, Any], token: str | None) -> User:
    """Read whose token it is.

    Raises
    ------
    InvalidAnswerError
        If there is no list of roles.
    """
    roles = content.get("roles")
    if not isinstance(roles, list):
        raise invalid_answer("holds no user")
    known = (plain_text(role, token) for role in roles)
    return User(text_field(content, "username", token, "a user") or "", tuple(role for role in known if role))


def read_next_study(content: dict[str, Any], token: str | None) -> NextStudy:
    """Read which study is next.

    Raises
    ------
    InvalidAnswerError
        If no study's id is in it.
    """
    image = content.get("id")
    if not is_plain_name(image):
        raise invalid_answer("holds no id of a study")
    return NextStudy(str(image), text_field(content, "strategy_note", token, "a study") or "")


def read_studies(content: dict[str, Any], token: str | None) -> list[Study]:
    """Read the list of studies. Those with a name that no route takes are left out.

    Raises
    ------
    InvalidAnswerError
        If it is none.
    """
    objects = content.get("objects")
    if not isinstance(objects, dict) or not all(isinstance(entry, dict) for entry in objects.values()):
        raise invalid_answer("holds no list of studies")
    return [_study(name, entry, token) for name, entry in objects.items() if is_plain_name(name)]


def _study(name: str, entry: dict[str, Any], token: str | None) -> Study:
    image, labels = entry.get("image"), entry.get("labels")
    if not isinstance(image, dict) or not isinstance(labels, dict):
        raise invalid_answer("holds a study without image or labels")
    marks = {tag: _mark(label, token) for tag, label in labels.items() if is_plain_name(tag)}
    return Study(name, text_field(image, "ext", token, "a study") or "", marks)


def _mark(label: Any, token: str | None) -> LabelMark:
    info = label.get("info") if isinstance(label, dict) else None
    if not isinstance(info, dict):
        raise invalid_answer("holds a label without information")
    author = text_field(info, "author", token, "a label") or ""
    return LabelMark(author, number_field(info, "ts", "a label"), count_field(info, "version"))


def read_version(content: Any, token: str | None) -> LabelVersion:
    """Read one version of a label.

    Raises
    ------
    InvalidAnswerError
        If it has no number.
    """
    number = count_field(content, "number") if isinstance(content, dict) else None
    if number is None:
        raise invalid_answer("holds a version without a number")
    return LabelVersion(
        number=number,
        author=text_field(content, "author", token, "a version") or "",
        created=text_field(content, "created", token, "a version") or "",
        removed=content.get("removed") is True,
        sha256=text_field(content, "sha256", token, "a version") or "",
    )


def read_study_label(content: dict[str, Any], token: str | None) -> tuple[StudyLabel, LabelVersion]:
    """Read a study label and its version.

    Raises
    ------
    InvalidAnswerError
        If one of them is missing.
    """
    label = content.get("label")
    if not isinstance(label, dict):
        raise invalid_answer("holds no study label")
    study_class, certainty, comment = (
        text_field(label, name, token, "a study label") for name in ("study_class", "certainty", "comment")
    )
    if not study_class or not certainty:
        raise invalid_answer("holds a study label without a class")
    return StudyLabel(study_class, certainty, comment or ""), read_version(content.get("version"), token)
