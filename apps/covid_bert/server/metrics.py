"""Numbers about the server for Prometheus: requests, their seconds, and the jobs that wait or run."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from covid_bert import __version__
from covid_bert.errors import CovidBertError

logger = logging.getLogger(__name__)

_SECONDS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0)


class Metrics:
    """The server's numbers. No label ever holds the id of a study, a job or a session."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route")
        self._requests = Counter(
            "covid_bert_requests", "Answered requests", (*labels, "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "covid_bert_request_seconds",
            "Seconds to the end of an answer",
            labels,
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._trainings = Counter(
            "covid_bert_trainings_ended", "Trainings that ended", ("model", "outcome"), registry=self.registry
        )
        version = Gauge("covid_bert_version", "1 for the version that runs", ("version",), registry=self.registry)
        version.labels(__version__).set(1)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request.

        Parameters
        ----------
        method, route
            HTTP method and template of the route; few values, never what a client chose.
        status
            HTTP status; 0 if the client left before there was one.
        seconds
            From the request's head to the answer's end, at least 0.
        """
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def follow_queue(self, length: Callable[[], int]) -> None:
        """Report the queue's length, asked for at each reading: the jobs that wait or run.

        Parameters
        ----------
        length
            Returns it; where it raises a typed error, the length is not a number, and all others are told as ever.
        """

        def known() -> float:
            try:
                return length()
            except CovidBertError as error:
                logger.warning("The length of the queue is not known: %s", error)
                return math.nan

        gauge = Gauge("covid_bert_queue_length", "Jobs that wait or run", registry=self.registry)
        gauge.set_function(known)

    def follow_archive(self, state: Callable[[], dict[str, Any] | None]) -> None:
        """Report how the archive of the studies is, asked for at each reading.

        Parameters
        ----------
        state
            Returns what `covid_bert.pacs.following.Following.to_json` does; None where there is no archive.
        """

        def age() -> float:
            known = (state() or {}).get("list_age_seconds")
            return math.nan if known is None else float(known)

        ready = Gauge("covid_bert_archive_ready", "1 while the archive answers in time", registry=self.registry)
        ready.set_function(lambda: float((state() or {}).get("state") == "ready"))
        Gauge("covid_bert_archive_list_age_seconds", "Age of the list of studies", registry=self.registry).set_function(
            age
        )

    def follow_trainings(self, count: Callable[[str], int]) -> None:
        """Report how many trainings run and wait, asked for at each reading.

        Parameters
        ----------
        count
            Called with ``running`` or ``waiting``.
        """
        gauge = Gauge("covid_bert_trainings", "Trainings that run or wait", ("state",), registry=self.registry)
        for state in ("running", "waiting"):
            gauge.labels(state).set_function(functools.partial(count, state))

    def count_training(self, model: str, outcome: str) -> None:
        """Count a training that has ended.

        Parameters
        ----------
        model
            Name of the trainer.
        outcome
            ``published``, ``candidate``, ``failed`` or ``stopped``.
        """
        self._trainings.labels(model, outcome).inc()

    def text(self) -> bytes:
        """All numbers in Prometheus' text format."""
        return generate_latest(self.registry)
