"""What a training tells of itself: the values of its curve, read from the lines of MONAI's ``StatsHandler``.

MONAI Label's ``/train`` answers with the last lines that the training wrote. Asked again and again they overlap, so
each value is kept by its place.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

RUNNING = ("SUBMITTED", "RUNNING")
_ITERATION = re.compile(r"Epoch: (\d+)/(\d+), Iter: (\d+)/(\d+) -- (.*)")
_EPOCH = re.compile(r"Epoch\[(\d+)\] Metrics -- (.*)")
_VALUE = re.compile(r"([A-Za-z][\w./-]*): (-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?=\s|$)")
_KNOWN = ("id", "status", "request", "details", "start_ts", "end_ts")
_MOST_LINES, _MOST_SERIES, _MOST_POINTS = 1000, 8, 5000


class TrainingLog:
    """The curve of one training, which grows with each answer of the server."""

    def __init__(self) -> None:
        self._training: object = None
        #: By name of the value: its values by epoch; within an epoch by the share of it that was done.
        self.series: dict[str, dict[float, float]] = {}
        #: How many epochs there will be, None before the training said so.
        self.epochs: int | None = None

    def take(self, status: Mapping[str, Any] | None) -> None:
        """Add what a status of the server tells; another training than before begins anew."""
        training = None if status is None else status.get("id")
        if training != self._training:
            self.series, self.epochs, self._training = {}, None, training
        for line in details(status)[-_MOST_LINES:]:
            self._read(line)

    def _read(self, line: str) -> None:
        iteration, epoch = _ITERATION.search(line), _EPOCH.search(line)
        if iteration is not None:
            number, self.epochs, step, steps = (int(text) for text in iteration.groups()[:4])
            self._add(number - 1 + step / max(1, steps), iteration.group(5))
        elif epoch is not None:
            self._add(float(epoch.group(1)), epoch.group(2))

    def _add(self, place: float, text: str) -> None:
        for name, value in _VALUE.findall(text):
            if name not in self.series and len(self.series) >= _MOST_SERIES:
                continue
            values = self.series.setdefault(name, {})
            if math.isfinite(float(value)) and len(values) < _MOST_POINTS:
                values[place] = float(value)


def details(status: Mapping[str, Any] | None) -> list[str]:
    """Return the lines that the training wrote last."""
    lines = None if status is None else status.get("details")
    return [line for line in lines if isinstance(line, str)] if isinstance(lines, list) else []


def is_running(status: Mapping[str, Any] | None) -> bool:
    """Return whether a training runs or waits."""
    return status is not None and status.get("status") in RUNNING


def model_of(status: Mapping[str, Any] | None) -> str:
    """Return the name of the model that is trained, or ""."""
    request = None if status is None else status.get("request")
    model = request.get("model") if isinstance(request, dict) else None
    return model if isinstance(model, str) else ""


def facts(status: Mapping[str, Any] | None) -> dict[str, str]:
    """Return what else a server says of its training, such as whether the new weights passed its gate."""
    found: dict[str, str] = {}
    for name, value in (status or {}).items():
        if name in _KNOWN:
            continue
        inner = value if isinstance(value, dict) else {"": value}
        for part, content in inner.items():
            if isinstance(content, (str, int, float)):
                key = f"{name} {part}".strip().replace("_", " ")
                found[key] = f"{content:g}" if isinstance(content, float) else str(content)
    return found
