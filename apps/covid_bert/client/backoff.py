"""Trying again: what is tried again, how often, and after which pause."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from .errors import BusyError, CancelledError, ClientError, ConnectionLostError, TimedOutError, UnreachableError

_BLINK_SECONDS = 0.1

Answer = TypeVar("Answer")
Cancelled = Callable[[], bool]


@dataclass(frozen=True)
class Backoff:
    """How a request is tried again.

    Parameters
    ----------
    attempts
        How often a request is sent at most; 1 never tries again.
    first_seconds
        Pause after the first attempt; it doubles with each, and a random part spreads out many clients.
    longest_seconds
        Longest pause. A server that asks for a longer one is not asked again.
    total_seconds
        After this time no further attempt begins.
    """

    attempts: int = 4
    first_seconds: float = 0.5
    longest_seconds: float = 15.0
    total_seconds: float = 30.0

    def run(self, attempt: Callable[[], Answer], *, repeatable: bool, cancelled: Cancelled | None = None) -> Answer:
        """Call ``attempt`` until it ends well or trying again makes no sense.

        Parameters
        ----------
        attempt
            Sends the request and reads the answer.
        repeatable
            Whether the request may be sent again although it may have arrived. One that the server has refused because
            it is busy, or that could not be sent at all, is tried again in any case.
        cancelled
            Asked before each attempt and during the pauses.

        Returns
        -------
        Answer
            What ``attempt`` returned.

        Raises
        ------
        ClientError
            The error of the last attempt; `CancelledError` if the user cancelled.
        """
        start = time.monotonic()
        failures = 0
        while True:
            check_cancelled(cancelled)
            try:
                return attempt()
            except ClientError as error:
                failures += 1
                pause = self._pause(error, failures, repeatable)
                elapsed = time.monotonic() - start
                if pause is None or failures >= self.attempts or elapsed + pause > self.total_seconds:
                    raise
            sleep(pause, cancelled)

    def _pause(self, error: ClientError, failures: int, repeatable: bool) -> float | None:
        """The seconds until the next attempt, or None where there should be none."""
        if isinstance(error, BusyError) and error.retry_after is not None:
            return error.retry_after if error.retry_after <= self.longest_seconds else None
        unsent = isinstance(error, (BusyError, UnreachableError))
        if unsent or (repeatable and isinstance(error, (ConnectionLostError, TimedOutError))):
            spread = random.uniform(0.75, 1.25)
            return min(self.first_seconds * 2.0 ** (failures - 1) * spread, self.longest_seconds)
        return None


def sleep(seconds: float, cancelled: Cancelled | None = None) -> None:
    """Wait, but no longer than until the user cancels.

    Raises
    ------
    CancelledError
        If ``cancelled`` returns true before the time is over.
    """
    end = time.monotonic() + seconds
    while True:
        check_cancelled(cancelled)
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, _BLINK_SECONDS))


def check_cancelled(cancelled: Cancelled | None) -> None:
    """Raise `CancelledError` if the user cancelled."""
    if cancelled is not None and cancelled():
        raise CancelledError("You cancelled.", "Start it again when you like.")


class CallbackError(Exception):
    """Carries what a caller's function raised past the places where the network's errors are told apart.

    Parameters
    ----------
    cause
        What it raised.
    """

    def __init__(self, cause: OSError) -> None:
        super().__init__()
        self.cause = cause


@contextmanager
def calling() -> Iterator[None]:
    """Keep an operating system's error of a caller's function from being taken for one of the network.

    Raises
    ------
    CallbackError
        In its place.
    """
    try:
        yield
    except OSError as error:
        raise CallbackError(error) from None
