"""An order, read field by field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..client import ClientError


class OrderError(ClientError):
    """The order is not as it must be: a fault of the panel, or of who wrote it."""

    default_code = "bad-order"


class Order:
    """A JSON object that tells what to do; its fields are checked when they are asked for.

    Parameters
    ----------
    content
        The object.
    """

    def __init__(self, content: dict[str, Any]) -> None:
        self._content = content

    @classmethod
    def parse(cls, line: bytes) -> Order:
        """Read an order from its line.

        Raises
        ------
        OrderError
            If it is no JSON object.
        """
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            # Without the cause, which holds the line and with it the token.
            raise OrderError("The order is not JSON.", "Report this to who maintains the extension.") from None
        if not isinstance(content, dict):
            raise OrderError("The order is no JSON object.", "Report this to who maintains the extension.")
        return cls(content)

    def text(self, name: str) -> str:
        """Return a field that holds text; `OrderError` for anything else, or none."""
        return str(self._get(name, str))

    def optional_text(self, name: str) -> str | None:
        """Return a field that holds text, or None where it is missing or null."""
        return None if self._content.get(name) is None else self.text(name)

    def number(self, name: str, default: float) -> float:
        """Return a field that holds a number, or the default where it is missing or null."""
        return default if self._content.get(name) is None else float(self._get(name, (int, float)))

    def flag(self, name: str, default: bool) -> bool:
        """Return a field that is true or false, or the default where it is missing or null."""
        return default if self._content.get(name) is None else bool(self._get(name, bool))

    def object(self, name: str) -> Order:
        """Return a field that is an object."""
        return Order(self._get(name, dict))

    def optional_object(self, name: str) -> Order | None:
        """Return a field that is an object, or None where it is missing or null."""
        return None if self._content.get(name) is None else self.object(name)

    def objects(self, name: str) -> list[Order]:
        """Return a field that is a list of objects."""
        return [Order({name: value}).object(name) for value in self._get(name, list)]

    def optional_whole(self, name: str) -> int | None:
        """Return a field that holds a whole number, or None where it is missing or null."""
        return None if self._content.get(name) is None else int(self._get(name, int))

    def mapping(self, name: str) -> dict[str, Any]:
        """Return a field that is an object of any content, empty where it is missing or null."""
        return {} if self._content.get(name) is None else dict(self._get(name, dict))

    def texts(self, name: str) -> list[str] | None:
        """Return a field that is a list of texts, or None where it is missing or null."""
        if self._content.get(name) is None:
            return None
        values = self._get(name, list)
        if not all(isinstance(value, str) for value in values):
            raise _wrong(name)
        return list(values)

    def numbers(self, name: str, count: int) -> tuple[float, ...]:
        """Return a field that is a list of so many numbers."""
        values = self._get(name, list)
        if len(values) != count or not all(_is_number(value) for value in values):
            raise _wrong(name)
        return tuple(values)

    def rows(self, name: str) -> tuple[tuple[float, ...], ...]:
        """Return a field that is a list of three lists of three numbers."""
        values = self._get(name, list)
        rows = [Order({name: value}).numbers(name, 3) for value in values]
        if len(rows) != 3:
            raise _wrong(name)
        return tuple(rows)

    def path(self, name: str) -> Path:
        """Return a field that names a file or folder."""
        return Path(self.text(name))

    def _get(self, name: str, kind: Any) -> Any:
        value = self._content.get(name)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise _wrong(name)
        return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9


def _wrong(name: str) -> OrderError:
    return OrderError(f"The order's field {name} is missing or wrong.", "Report this to who maintains the extension.")
