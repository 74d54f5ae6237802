"""Reading of JSON that came from elsewhere: each value is checked for its kind and range."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from .i18n import tr as _
from .problems import ResultError

_Item = TypeVar("_Item")


def refused(place: str) -> ResultError:
    """Return the error for a value that is missing or of another kind than it has to be.

    Parameters
    ----------
    place
        Name of the value, with dots between levels.
    """
    return ResultError(
        _("The result of the server cannot be read: '{place}' is missing or not as expected.").format(place=place),
        _("Compare the versions of this module and of the server; update the older one."),
    )


class Fields:
    """The fields of one JSON object.

    Parameters
    ----------
    document
        The object.
    place
        Its name, for messages.

    Raises
    ------
    ResultError
        Here and from all methods: if a value is missing or not of its kind. Unknown fields are left alone.
    """

    def __init__(self, document: object, place: str) -> None:
        if not isinstance(document, Mapping):
            raise refused(place)
        self._document: Mapping[str, Any] = document
        self._place = place

    def __contains__(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self._document.get(name) is not None

    def text(self, name: str) -> str:
        """Return a string."""
        value = self._document.get(name)
        if not isinstance(value, str):
            raise refused(self._name(name))
        return value

    def flag(self, name: str) -> bool:
        """Return true or false."""
        value = self._document.get(name)
        if not isinstance(value, bool):
            raise refused(self._name(name))
        return value

    def number(self, name: str, lowest: float = -math.inf, highest: float = math.inf) -> float:
        """Return a finite number in [lowest, highest]."""
        return self._checked(self._document.get(name), name, lowest, highest)

    def whole(self, name: str, lowest: int = 0) -> int:
        """Return a whole number, `lowest` or more."""
        value = self._document.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
            raise refused(self._name(name))
        return value

    def numbers(self, name: str, count: int | None = None) -> tuple[float, ...]:
        """Return a list of finite numbers, of a certain length unless `count` is None."""
        values = self._document.get(name)
        if not isinstance(values, list) or (count is not None and len(values) != count):
            raise refused(self._name(name))
        return tuple(self._checked(value, name, -math.inf, math.inf) for value in values)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of strings."""
        values = self._document.get(name)
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise refused(self._name(name))
        return tuple(values)

    def shares(self, name: str) -> dict[str, float]:
        """Return an object of numbers in [0, 1] by name, with at least one."""
        values = self._document.get(name)
        if not isinstance(values, Mapping) or not values:
            raise refused(self._name(name))
        return {str(key): self._checked(value, name, 0.0, 1.0) for key, value in values.items()}

    def amounts(self, name: str) -> dict[str, float]:
        """Return an object of numbers, 0 or more, by name."""
        values = self._document.get(name)
        if not isinstance(values, Mapping):
            raise refused(self._name(name))
        return {str(key): self._checked(value, name, 0.0, math.inf) for key, value in values.items()}

    def inner(self, name: str) -> Fields:
        """Return the fields of an inner object."""
        return Fields(self._document.get(name), self._name(name))

    def list_of(self, name: str, read: Callable[[Fields], _Item]) -> tuple[_Item, ...]:
        """Return a list of objects, each read by `read`."""
        values = self._document.get(name)
        if not isinstance(values, list):
            raise refused(self._name(name))
        return tuple(read(Fields(value, f"{self._name(name)}[{index}]")) for index, value in enumerate(values))

    def optional(self, name: str, read: Callable[[str], _Item]) -> _Item | None:
        """Return what `read`, for example `self.text`, makes of the field; None for null. The field must be there."""
        if name not in self._document:
            raise refused(self._name(name))
        return None if self._document[name] is None else read(name)

    def _name(self, name: str) -> str:
        return f"{self._place}.{name}" if self._place else name

    def _checked(self, value: object, name: str, lowest: float, highest: float) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise refused(self._name(name))
        try:
            number = float(value)
        except OverflowError as error:
            raise refused(self._name(name)) from error
        if not math.isfinite(number) or not lowest <= number <= highest:
            raise refused(self._name(name))
        return number
