"""What clients say of images and labels: JSON objects within limits, without the keys that the store keeps itself."""

from __future__ import annotations

import json
from typing import Any

from covid_bert.errors import ParameterError

# What the store itself says of files; clients cannot change it.
RESERVED = frozenset({"name", "ts", "sha256", "file_time", "version", "author", "path"})
# An image's information travels with every list; a label's holds the whole result of a classification.
IMAGE_BYTES = 65_536
LABEL_BYTES = 2**20
_DEEPEST = 32


def checked(info: Any, longest: int) -> dict[str, Any]:
    """Return information that can be kept.

    Parameters
    ----------
    info
        As it was sent.
    longest
        Most bytes as JSON.

    Raises
    ------
    ParameterError
        If it is no JSON object, is too long or too deep, or holds what JSON cannot: NaN, infinity, half characters.
    """
    try:
        size = len(json.dumps(info, allow_nan=False, ensure_ascii=False).encode())
    except (ValueError, TypeError, RecursionError) as error:
        raise ParameterError(
            "The information holds what JSON cannot.", "Send numbers, text, lists, objects."
        ) from error
    if not isinstance(info, dict) or size > longest or _is_deeper(info, _DEEPEST):
        raise ParameterError(
            "The information is no JSON object, too long or too deep.",
            f"Send an object of at most {longest} bytes and {_DEEPEST} levels.",
        )
    return info


def without_reserved(info: dict[str, Any]) -> dict[str, Any]:
    """Return information without the keys that the store keeps itself: clients send back what they were told."""
    return {key: value for key, value in info.items() if key not in RESERVED}


def _is_deeper(value: Any, levels: int) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_is_deeper(part, levels - 1) for part in parts)
