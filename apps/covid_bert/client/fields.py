"""Fields of what a server says, checked one by one."""

from __future__ import annotations

import math
from typing import Any

from .answers import invalid_answer, plain_text


def text_field(content: dict[str, Any], name: str, token: str | None, of: str) -> str | None:
    """Return a field that holds text, fit to be shown; None where it is missing.

    Parameters
    ----------
    content
        The server's JSON object.
    name
        Of the field.
    token
        The client's token, which no text of the server may repeat.
    of
        What the object is, for the message, such as ``"a job"``.

    Raises
    ------
    InvalidAnswerError
        If it is something else.
    """
    value = content.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise invalid_answer(f"holds {of} whose {name} is not text")
    return plain_text(value, token)


def number_field(content: dict[str, Any], name: str, of: str) -> float | None:
    """Return a field that holds a finite number; None where it is missing. Parameters and errors as `text_field`."""
    value = content.get(name)
    if value is None:
        return None
    try:
        number = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise invalid_answer(f"holds {of} whose {name} is not a number")
    return number


def count_field(content: dict[str, Any], name: str) -> int | None:
    """Return a field that holds a whole number from 0; None for anything else."""
    value = content.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def plain_json(value: Any, token: str | None) -> Any:
    """Return a server's JSON with every text in it fit to be shown.

    Parameters
    ----------
    value
        What `read_json` returned, or a part of it.
    token
        The client's token, which no text of the server may repeat.
    """
    if isinstance(value, str):
        return plain_text(value, token)
    if isinstance(value, list):
        return [plain_json(item, token) for item in value]
    if isinstance(value, dict):
        return {plain_text(name, token): plain_json(item, token) for name, item in value.items()}
    return value
