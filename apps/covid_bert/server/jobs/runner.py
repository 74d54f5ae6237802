"""Jobs as their users see them: submit, follow, cancel, fetch."""

from __future__ import annotations

import contextlib
import statistics
import threading
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covid_bert.errors import BusyError, CancelledError, GoneError, NotFoundError, NotReadyError
from covid_bert.server.authentication import Caller
from covid_bert.server.jobs.clock import SteadyClock, iso
from covid_bert.server.jobs.dispatcher import Dispatcher, Stage
from covid_bert.server.jobs.records import ENDED, Job, JobRecord, ShownError, typed_error
from covid_bert.server.jobs.store import JobStore
from covid_bert.server.jobs.submission import Prepared, Requests
from covid_bert.workers import MakeCompute

_SHORTEST_RETRY, _LONGEST_RETRY = 1, 600
_UNKNOWN_RETRY = 30
# A server of other studies that starts takes the folder for a moment, to remove old results.
_LOCK_SECONDS = 5.0


@dataclass(frozen=True)
class JobResult:
    """The result of a done job: the reply's JSON, and its images by what they show, the reply's own first."""

    params: dict[str, Any]
    files: dict[str, Path]

    @property
    def file(self) -> Path | None:
        """The reply's own image, if it has one."""
        return next(iter(self.files.values()), None)


class JobRunner:
    """A bounded queue of jobs with one worker process.

    Parameters
    ----------
    folder
        For the list of jobs and the results; made with mode 0700.
    requests
        Prepares what users ask for.
    make_compute
        For `covid_bert.workers.Worker`.
    queue_length
        Most jobs that may wait or run, at least 1.
    result_hours
        For how long a result is kept, above 0.
    job_minutes
        For how long a job may be computed, above 0.
    grace_seconds
        That a cancelled computation has to stop before its process is killed.

    Raises
    ------
    ServerError
        If another server uses the folder.
    OutputError
        If the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        requests: Requests,
        make_compute: MakeCompute,
        *,
        queue_length: int = 32,
        result_hours: float = 24.0,
        job_minutes: float = 60.0,
        grace_seconds: float = 10.0,
    ) -> None:
        self.requests = requests
        self._queue_length = queue_length
        self._clock = SteadyClock()
        self._store = JobStore(folder, self._clock(), patience=_LOCK_SECONDS)
        self._completions: list[tuple[str, Future[None]]] = []
        self._lock = threading.Lock()
        self._dispatcher = Dispatcher(
            self._store,
            requests,
            make_compute,
            clock=self._clock,
            lifetime=result_hours * 3600,
            grace=grace_seconds,
            longest=job_minutes * 60,
            on_end=self._announce,
        )

    @property
    def worker_pid(self) -> int | None:
        """The worker's process id, while there is one."""
        return self._dispatcher.worker_pid

    @property
    def alive(self) -> bool:
        """Whether jobs are taken from the queue."""
        return self._dispatcher.is_alive()

    def start(self) -> None:
        """Start the worker, and with it the jobs that an earlier server left in the queue."""
        self._dispatcher.start()

    def close(self) -> None:
        """Stop. What waits is computed after the next start, what runs is marked as interrupted."""
        if self.alive:
            self._dispatcher.close()
        with self._lock:
            for _, future in self._completions:
                _resolve(future)
        self._store.close()

    def queue_length(self) -> int:
        """How many jobs wait or run."""
        return self._store.live()

    def remove_gone(self) -> None:
        """Remove the results of sessions and uploads that are gone soon, rather than at the next regular time."""
        self._dispatcher.sweep_soon()

    def submit(self, prepared: Prepared, caller: Caller) -> Job:
        """Put a request into the queue, or tie it to an equal one.

        Parameters
        ----------
        prepared
            From ``requests.prepare``.
        caller
            Whose job it is. One of several users may have half of the queue, and at least one place.

        Raises
        ------
        BusyError
            If the queue is full; ``details['retry_after']`` says in how many seconds to try again.
        """
        limit = self._queue_length
        own_limit = limit if caller.alone else max(1, limit // 2)
        try:
            record = self._store.add(caller.name, prepared, self._clock(), limit=limit, own_limit=own_limit)
        except BusyError as error:
            seconds = min((left for _, left in self._queue().values() if left is not None), default=_UNKNOWN_RETRY)
            error.details["retry_after"] = min(max(seconds, _SHORTEST_RETRY), _LONGEST_RETRY)
            raise
        self._dispatcher.notify()
        return self._shown(record, self._queue())

    def job(self, identifier: str, caller: Caller) -> Job:
        """The state of a job.

        Raises
        ------
        NotFoundError
            If there is no such job, or it is another user's.
        """
        return self._shown(self._record(identifier, caller), self._queue())

    def jobs(self, caller: Caller) -> list[Job]:
        """The newest jobs of a user, of all for an administrator, newest first, at most 500."""
        queue = self._queue()
        return [
            self._shown(record, queue) for record in self._store.jobs(None if caller.administrator else caller.name)
        ]

    def cancel(self, identifier: str, caller: Caller) -> Job:
        """Cancel a job that waits or runs; one that has ended stays as it is.

        Raises
        ------
        NotFoundError
            If there is no such job, or it is another user's.
        """
        self._record(identifier, caller)
        self._store.cancel(identifier, self._clock())
        self._announce()
        return self.job(identifier, caller)

    def completion(self, identifier: str) -> Future[None]:
        """Return what is resolved when the job has ended, in whatever way, and when the runner closes.

        Use ``await asyncio.wrap_future(runner.completion(job.id))`` or ``.result(seconds)``.
        """
        future: Future[None] = Future()
        with self._lock:
            self._completions.append((identifier, future))
        self._announce()
        return future

    def result(self, identifier: str, caller: Caller) -> JobResult:
        """The result of a done job.

        Raises
        ------
        NotFoundError
            If there is no such job, or it is another user's.
        NotReadyError
            If it waits or runs.
        GoneError
            If its result was removed.
        CancelledError
            If it was cancelled.
        CovidBertError
            If it failed: the error of its computation.
        """
        record = self._record(identifier, caller)
        if record.state == "cancelled":
            raise CancelledError("The job was cancelled.", "Submit it again when you like.")
        if record.state == "expired":
            raise GoneError("The result of this job was removed after its time.", "Submit the study again.")
        if record.error is not None:
            raise typed_error(record.error, record.details)
        if record.params is None:
            raise NotReadyError("The job has no result yet.", "Ask for its state until it is done.")
        return JobResult(record.params, record.files)

    def _record(self, identifier: str, caller: Caller) -> JobRecord:
        record = self._store.job(identifier)
        if record is None or not (caller.administrator or record.owner == caller.name):
            raise NotFoundError("There is no job with that id.", "Ask for your jobs with GET /jobs.")
        return record

    def _announce(self) -> None:
        """Resolve the completions of jobs that have ended or are not known any more."""
        with self._lock:
            for identifier, future in list(self._completions):
                record = self._store.job(identifier)
                if record is None or record.state in ENDED:
                    self._completions.remove((identifier, future))
                    _resolve(future)

    def _queue(self) -> dict[int, tuple[int, int | None]]:
        """Place and estimated seconds to its end, by the number of each computation that waits or runs."""
        queue: dict[int, tuple[int, int | None]] = {}
        waiting, total = 0, 0.0
        known = True
        usual: dict[str, float] = {}
        for computation in self._store.unfinished():
            if computation.model not in usual:
                usual[computation.model] = statistics.median(self._store.durations(computation.model) or [0.0])
            elapsed = 0.0 if computation.started is None else self._clock() - computation.started
            left = usual[computation.model] - elapsed
            known = known and left > 0
            total += left
            queue[computation.number] = waiting, round(total) if known else None
            waiting += computation.started is None
        return queue

    def _shown(self, record: JobRecord, queue: dict[int, tuple[int, int | None]]) -> Job:
        stage = self._dispatcher.stage if record.state == "running" else None
        if stage is None or stage.computation != record.computation:
            stage = Stage(record.computation, "", 1.0 if record.state == "done" else 0.0)
        place, seconds_left = queue.get(record.computation, (0, None)) if record.state not in ENDED else (0, None)
        error = record.error
        return Job(
            id=record.id,
            state=record.state,
            model=record.model,
            stage=stage.name,
            fraction=stage.fraction,
            place=place,
            seconds_left=seconds_left,
            error=None if error is None else ShownError(**error),
            created=iso(record.created) or "",
            started=iso(record.started),
            ended=iso(record.ended),
        )


def _resolve(future: Future[None]) -> None:
    # Who waited may have given up.
    with contextlib.suppress(InvalidStateError):
        future.set_result(None)
