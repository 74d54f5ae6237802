"""Names that become part of a route or a message: only those that need no quoting."""

from __future__ import annotations

import re
from typing import Any

from .errors import InvalidRequestError

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_JOB = re.compile(r"[0-9a-f]{32}")


def is_plain_name(value: Any) -> bool:
    """Say whether something is text of 1 to 128 letters, digits and ``._-``, without a dot in front."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def is_job_id(value: Any) -> bool:
    """Say whether something is text of 32 hexadecimal digits."""
    return isinstance(value, str) and _JOB.fullmatch(value) is not None


def job_path(job_id: str) -> str:
    """Return the route of a job.

    Raises
    ------
    InvalidRequestError
        If that can be no job's id.
    """
    if not is_job_id(job_id):
        raise InvalidRequestError("That is no id of a job.", "Give the one that the job has.")
    return f"/jobs/{job_id}"


def session_path(session_id: str) -> str:
    """Return the route of a session.

    Raises
    ------
    InvalidRequestError
        If that can be no session's id.
    """
    if not is_plain_name(session_id):
        raise InvalidRequestError("That is no id of a session.", "Give the one that upload returned.")
    return f"/session/{session_id}"


def plain_name(value: str, what: str) -> str:
    """Return a name that may stand in a route.

    Parameters
    ----------
    value
        The name.
    what
        What has that name, for the message.

    Raises
    ------
    InvalidRequestError
        If it needs quoting, or is longer than any.
    """
    if not is_plain_name(value):
        raise InvalidRequestError(f"That is no name of a {what}.", "Take it from the server's list.")
    return value


def study_query(image: str, *, key: str = "image", tag: str | None = None) -> str:
    """Return the part of a route after ``?`` that names a study, and the kind of a label of it.

    Parameters
    ----------
    image
        Id of the study.
    key
        What the route calls it.
    tag
        ``"final"`` or ``"original"``, or None.

    Raises
    ------
    InvalidRequestError
        If one of them cannot be such a name.
    """
    query = f"{key}={plain_name(image, 'study')}"
    return query if tag is None else f"{query}&tag={plain_name(tag, 'kind of label')}"
