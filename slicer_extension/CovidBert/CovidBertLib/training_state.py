"""What a server says of its newest training.

The answer has MONAI Label's form (``id``, ``status``, ``request``, ``details``, ``start_ts``, ``end_ts``) and more
beside it. What is missing, or of another kind than it has to be, is left out: the training goes on whether it is shown
or not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

RUNNING = ("SUBMITTED", "RUNNING")
LOSS = "loss"
_MOST_LINES, _MOST_SERIES, _MOST_POINTS, _MOST_NAMED = 1000, 8, 5000, 200


@dataclass(frozen=True)
class TrainingOutcome:
    """What a training that ended well has made.

    Parameters
    ----------
    version
        Of the model's weights.
    published
        Whether results come from it now.
    passed
        Whether the gate let it pass.
    reason
        Of the gate, for people.
    """

    version: str
    published: bool
    passed: bool
    reason: str


@dataclass(frozen=True)
class TrainingState:
    """One training as the server describes it.

    Parameters
    ----------
    status
        ``SUBMITTED``, ``RUNNING``, ``DONE``, ``ERROR`` or ``STOPPED``.
    model
        What is trained; "" where that is not said.
    begin, end
        As the server writes times; "" before that.
    stage
        What it is at.
    epoch, epochs
        Of how many; None before the first.
    fraction
        Finished share of the whole, in [0, 1].
    seconds_left
        Estimated.
    series
        By name of the measure, the loss first: values by epoch.
    outcome
        Of a training that ended well.
    message, hint
        Of one that failed.
    left_out
        Studies that could not be used, with the reason.
    lines
        What it wrote last.
    """

    status: str
    model: str = ""
    begin: str = ""
    end: str = ""
    stage: str = ""
    epoch: int | None = None
    epochs: int | None = None
    fraction: float | None = None
    seconds_left: float | None = None
    series: dict[str, dict[float, float]] = field(default_factory=dict)
    outcome: TrainingOutcome | None = None
    message: str = ""
    hint: str = ""
    left_out: tuple[tuple[str, str], ...] = ()
    lines: tuple[str, ...] = ()

    @property
    def is_running(self) -> bool:
        """Whether it runs or waits."""
        return self.status in RUNNING

    @classmethod
    def read(cls, answer: Mapping[str, Any] | None) -> TrainingState | None:
        """Read a server's answer; None where nothing was trained yet."""
        if answer is None:
            return None
        error = _object(answer.get("error"))
        lines = answer.get("details")
        return cls(
            status=_text(answer.get("status")),
            model=_text(_object(answer.get("request")).get("model")),
            begin=_text(answer.get("start_ts")),
            end=_text(answer.get("end_ts")),
            stage=_text(answer.get("stage")),
            epoch=_whole(answer.get("epoch")),
            epochs=_whole(answer.get("epochs")),
            fraction=_number(answer.get("fraction")),
            seconds_left=_number(answer.get("seconds_left")),
            series=_series(answer.get("curve")),
            outcome=_outcome(answer.get("result")),
            message=_text(error.get("message")),
            hint=_text(error.get("hint")),
            left_out=_left_out(answer.get("left_out")),
            lines=tuple(line for line in lines if isinstance(line, str))[-_MOST_LINES:]
            if isinstance(lines, list)
            else (),
        )


def _series(curve: Any) -> dict[str, dict[float, float]]:
    series: dict[str, dict[float, float]] = {}
    for item in curve[-_MOST_POINTS:] if isinstance(curve, list) else []:
        point = _object(item)
        epoch = _whole(point.get("epoch"))
        if epoch is None:
            continue
        for name, value in {LOSS: point.get(LOSS), **_object(point.get("validation"))}.items():
            number = _number(value)
            if number is not None and (name in series or len(series) < _MOST_SERIES):
                series.setdefault(str(name), {})[float(epoch)] = number
    return series


def _outcome(result: Any) -> TrainingOutcome | None:
    facts = _object(result)
    version, gate = _text(facts.get("version")), _object(facts.get("gate"))
    if not version:
        return None
    return TrainingOutcome(
        version, facts.get("published") is True, gate.get("passed") is True, _text(gate.get("reason"))
    )


def _left_out(listed: Any) -> tuple[tuple[str, str], ...]:
    found = [_object(item) for item in listed] if isinstance(listed, list) else []
    return tuple((_text(item.get("identifier")), _text(item.get("reason"))) for item in found[:_MOST_NAMED])


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9 else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) < 1e12 and math.isfinite(value) else None
