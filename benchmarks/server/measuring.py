"""Seconds of many requests: percentiles, and clients that send at one time."""

from __future__ import annotations

import http.client
import json
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from server import probe

REQUEST_SECONDS = 3600.0


@dataclass(frozen=True)
class Request:
    """What a client sends; `form` is a body of form fields."""

    method: str
    path: str
    form: str = ""


@dataclass(frozen=True)
class Measured:
    """What clients saw.

    Parameters
    ----------
    seconds
        Of each request that was answered well.
    errors
        How many were not.
    wall_seconds
        From the first request to the last answer.
    """

    seconds: list[float]
    errors: int
    wall_seconds: float

    @property
    def rate(self) -> float:
        """Good answers in a second."""
        return len(self.seconds) / self.wall_seconds


def nearest_rank(values: Sequence[float], percent: float) -> float:
    """Return a percentile by the nearest-rank method; not a number where there is no value."""
    ordered = sorted(values)
    return ordered[max(math.ceil(percent / 100 * len(ordered)) - 1, 0)] if ordered else math.nan


def load(url: str, clients: int, requests: Iterator[Request], *, seconds: float = math.inf) -> Measured:
    """Let clients send requests, each one after the other over a connection of its own.

    Parameters
    ----------
    url
        The server.
    clients
        How many at one time.
    requests
        Taken one by one until there is none.
    seconds
        No request begins after this time.
    """
    taking = threading.Lock()
    times: list[float] = []
    errors: list[str] = []
    start = time.perf_counter()

    def send_all() -> None:
        connection = _connection(url)
        while time.perf_counter() - start < seconds:
            with taking:
                request = next(requests, None)
            if request is None:
                break
            begun = time.perf_counter()
            try:
                _send(connection, request)
                times.append(time.perf_counter() - begun)
            except (OSError, http.client.HTTPException, ValueError) as error:
                errors.append(str(error))
                connection.close()
                connection = _connection(url)
        connection.close()

    _together(clients, send_all)
    return Measured(times, len(errors), time.perf_counter() - start)


def _together(count: int, work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _connection(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=REQUEST_SECONDS)


def _send(connection: http.client.HTTPConnection, request: Request) -> None:
    """Send a request and read its answer; ValueError for any other than a good one."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if request.form else {}
    connection.request(request.method, request.path, request.form or None, headers)
    answer = connection.getresponse()
    answer.read()
    if not 200 <= answer.status < 300:
        raise ValueError(f"status {answer.status}")


@contextmanager
def probed(url: str) -> Iterator[list[float]]:
    """Ask for an address from another process while the block runs; the list holds the seconds afterwards."""
    seconds: list[float] = []
    with subprocess.Popen(
        [sys.executable, probe.__file__, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield seconds
        finally:
            seconds += json.loads(process.communicate()[0])
