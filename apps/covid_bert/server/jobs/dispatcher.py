"""The thread that hands computations to the worker, one at a time, and keeps their outcome."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covid_bert.errors import (
    CancelledError,
    CovidBertError,
    InternalError,
    OutputError,
    TooLongError,
    WorkerDiedError,
)
from covid_bert.logs import describe
from covid_bert.server.jobs.records import Computation, interrupted
from covid_bert.server.jobs.store import JobStore
from covid_bert.server.jobs.submission import Requests
from covid_bert.workers import MakeCompute, Worker

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.1
_RETRY_SECONDS = 1.0
_LONGEST_SWEEP_INTERVAL = 60.0


@dataclass(frozen=True)
class Stage:
    """What the running computation is at: its number, the stage, and the finished fraction of that in [0, 1]."""

    computation: int
    name: str
    fraction: float


class Dispatcher(threading.Thread):
    """Runs what the store has, in its order, and removes what has expired.

    Parameters
    ----------
    store
        The jobs; the caller closes it after `close`.
    requests
        Tells whether study or weights changed meanwhile.
    make_compute
        For `covid_bert.workers.Worker`.
    clock
        Seconds since the epoch.
    lifetime
        Seconds for which a result is kept.
    grace
        Seconds that a cancelled computation has to stop before its process is killed.
    longest
        Seconds that a computation may take before its process is killed.
    on_end
        Called after each computation and from time to time, on this thread; may fail and is then called again.
    """

    def __init__(
        self,
        store: JobStore,
        requests: Requests,
        make_compute: MakeCompute,
        *,
        clock: Callable[[], float],
        lifetime: float,
        grace: float,
        longest: float,
        on_end: Callable[[], None],
    ) -> None:
        super().__init__(name="jobs", daemon=True)
        self.stage: Stage | None = None
        self._store, self._requests, self._make_compute = store, requests, make_compute
        self._clock, self._lifetime, self._grace, self._on_end = clock, lifetime, grace, on_end
        self._longest = longest
        self._worker: Worker | None = None
        self._news = threading.Event()
        self._closing = threading.Event()
        self._next_sweep = 0.0

    @property
    def worker_pid(self) -> int | None:
        """The worker's process id, while there is one."""
        return None if self._worker is None else self._worker.pid

    def notify(self) -> None:
        """Say that there may be something to compute."""
        self._news.set()

    def sweep_soon(self) -> None:
        """Say that there may be something to remove."""
        self._next_sweep = 0.0
        self._news.set()

    def close(self) -> None:
        """Stop; a computation that runs is ended and marked as interrupted."""
        self._closing.set()
        self._news.set()
        self.join()

    def run(self) -> None:
        """Work until `close`; a failure of the disk is tried again."""
        while not self._closing.is_set():
            try:
                self._on_end()
                # Started before it is needed: opening the app takes seconds.
                self._ready_worker()
                self._sweep()
                waiting = self._store.unfinished()
                if waiting:
                    self._compute(waiting[0])
                else:
                    self._news.wait(min(_RETRY_SECONDS, self._sweep_interval))
                    self._news.clear()
            except Exception as error:
                logger.warning("The queue of jobs could not go on (%s); it tries again", type(error).__name__)
                self._closing.wait(_RETRY_SECONDS)
        self._end_worker()

    @property
    def _sweep_interval(self) -> float:
        return min(_LONGEST_SWEEP_INTERVAL, self._lifetime / 10)

    def _sweep(self) -> None:
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + self._sweep_interval
            self._store.expire(self._clock(), lifetime=self._lifetime)

    def _compute(self, computation: Computation) -> None:
        folder = self._store.start(computation, self._clock())
        self.stage = Stage(computation.number, "starting", 0.0)
        try:
            outcome = self._outcome(computation, folder)
        except CovidBertError as error:
            self._end_worker()
            outcome = {"error": error.to_json()}
        except Exception as error:
            self._end_worker()
            logger.error("A job could not be run: %s", type(error).__name__)
            outcome = {"error": InternalError("The job could not be run.", "Look in the server's log.").to_json()}
        self._keep(computation, outcome)
        self.stage = None

    def _outcome(self, computation: Computation, folder: Path) -> dict[str, Any]:
        """Let the worker compute, and return its last message, or the error instead of one."""
        worker = self._begin(computation, folder)
        kill_at: float | None = None
        end = time.monotonic() + self._longest
        while True:
            message = worker.receive(_POLL_SECONDS)
            if message is not None and "stage" in message:
                self.stage = Stage(computation.number, str(message["stage"]), float(message["fraction"]))
            elif message is not None:
                return message
            if self._closing.is_set():
                return {"error": interrupted().to_json()}
            if time.monotonic() >= end:
                minutes = f"{self._longest / 60:.0f} minutes"
                raise TooLongError(f"The job took longer than {minutes}.", "The operator sets the limit: job_minutes.")
            if kill_at is None and not self._is_wanted(computation.number):
                worker.cancel()
                kill_at = time.monotonic() + self._grace
            elif kill_at is not None and time.monotonic() >= kill_at:
                raise CancelledError("The job was cancelled.", "Submit it again when you like.")
            self._sweep_if_possible()

    def _begin(self, computation: Computation, folder: Path) -> Worker:
        """Hand a computation to the worker, or, once, to a new one where that has ended before it could begin."""
        try:
            worker = self._ready_worker()
            worker.run(computation.request, folder)
        except WorkerDiedError:
            self._end_worker()
            worker = self._ready_worker()
            worker.run(computation.request, folder)
        return worker

    def _is_wanted(self, number: int) -> bool:
        """Whether any job needs the computation; where the disk does not say, it goes on."""
        try:
            return self._store.wanted(number)
        except OutputError:
            return True

    def _sweep_if_possible(self) -> None:
        try:
            self._sweep()
        except Exception as error:
            logger.warning("Old results cannot be removed now: %s", describe(error))

    def _keep(self, computation: Computation, outcome: dict[str, Any]) -> None:
        """Write the outcome, and try until the disk takes it; at the end, the next start marks the job."""
        while True:
            try:
                self._write(computation, outcome)
                return
            except OutputError:
                logger.warning("The outcome of a job cannot be written; trying again")
                if self._closing.wait(_RETRY_SECONDS):
                    return
            except Exception as error:
                logger.error("The outcome of a job cannot be kept: %s", describe(error))
                if "error" in outcome:
                    return
                outcome = {"error": InternalError("The result cannot be kept.", "Look in the server's log.").to_json()}

    def _write(self, computation: Computation, outcome: dict[str, Any]) -> None:
        number, now = computation.number, self._clock()
        if not self._store.wanted(number):
            error = CancelledError("The job was cancelled.", "Submit it again when you like.")
            self._store.fail(number, now, error.to_json(), cancelled=True)
        elif "error" in outcome:
            self._store.fail(number, now, outcome["error"])
        else:
            # What changed while it waited or ran may or may not be in the result: nobody else gets that.
            unchanged = self._key_now(computation) == computation.key
            files = {str(shows): Path(name).name for shows, name in outcome["files"].items()}
            self._store.finish(
                number, now, key=computation.key if unchanged else None, files=files, params=outcome["params"]
            )

    def _key_now(self, computation: Computation) -> str | None:
        try:
            return self._requests.key(computation.request)
        except Exception as error:
            logger.info("The study or the weights of a job changed while it ran: %s", describe(error))
            return None

    def _ready_worker(self) -> Worker:
        if self._worker is None or not self._worker.alive:
            self._end_worker()
            self._worker = Worker(self._make_compute)
        return self._worker

    def _end_worker(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = None
