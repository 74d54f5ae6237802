"""Scores of all studies in the background: a process of its own that waits whenever somebody's inference does."""

from __future__ import annotations

import logging
import threading
import uuid
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from covid_bert.active_learning.score_store import ScoreStore
from covid_bert.active_learning.scores import weights_digest
from covid_bert.errors import BusyError, CancelledError, CovidBertError, InternalError, WeightsError, WorkerDiedError
from covid_bert.logs import describe
from covid_bert.tasks.stamps import stamp
from covid_bert.workers import MakeCompute, Worker

logger = logging.getLogger(__name__)

_REMEMBERED = 20
# What an inference waits for on average is half of it.
_POLL_SECONDS = 0.02
# A study that ends the process twice is not tried again with these weights.
_MOST_DEATHS = 2
# Errors that say the same of every study.
_ENDING = frozenset({WeightsError.code})


class ScoringTask(BaseModel):
    """State of a run, in the form of MONAI Label's tasks.

    Parameters
    ----------
    id, status, request, start_ts, end_ts, details
        As MONAI Label has them.
    total, done, failed
        Studies that had no scores when the run began, those that have been looked at, and those that have none still.
    waiting
        Whether it waits for an inference.
    error
        Why the run ended early: code, message and hint.
    """

    id: str
    status: Literal["SUBMITTED", "RUNNING", "DONE", "STOPPED", "ERROR"] = "SUBMITTED"
    request: dict[str, Any]
    start_ts: str
    end_ts: str | None = None
    details: list[str] = Field(default_factory=list)
    total: int = 0
    done: int = 0
    failed: int = 0
    waiting: bool = False
    error: dict[str, Any] | None = None


class Scoring:
    """Runs one method at a time, on a thread that hands study after study to a process.

    Parameters
    ----------
    store
        Keeps the scores.
    missing
        Returns file or folder of each study without scores, in the order in which they are to be scored.
    make_compute
        For `covid_bert.workers.Worker`: scores the study of a request.
    busy
        Tells whether an inference runs or waits.
    """

    def __init__(
        self,
        store: Callable[[], ScoreStore],
        missing: Callable[[], dict[str, Path]],
        make_compute: MakeCompute,
        busy: Callable[[], bool],
    ) -> None:
        self._store, self._missing, self._make_compute, self._busy = store, missing, make_compute, busy
        self._tasks: deque[ScoringTask] = deque(maxlen=_REMEMBERED)
        self._lock = threading.Lock()
        self._stop, self._closing = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._worker: Worker | None = None

    @property
    def worker_pid(self) -> int | None:
        """The process's id, while there is one."""
        worker = self._worker
        return None if worker is None else worker.pid

    def start(self, method: str) -> ScoringTask:
        """Begin a run.

        Raises
        ------
        BusyError
            If one runs.
        OutputError
            If the store cannot be written.
        """
        with self._lock:
            if self.running() is not None:
                raise BusyError(
                    "The studies are being scored already.", "Follow it with GET /scoring/.", retry_after=60
                )
            self._store().begin(method)
            self._stop.clear()
            task = ScoringTask(id=str(uuid.uuid4()), request={"method": method}, start_ts=stamp())
            self._tasks.append(task)
            self._thread = threading.Thread(target=self._run, args=(task, method), name="scoring", daemon=True)
            self._thread.start()
        return task

    def ensure(self, method: str) -> None:
        """Begin a run if none is under way; errors are left to those who ask for one."""
        try:
            self.start(method)
        except BusyError:
            return
        except CovidBertError as error:
            logger.warning("Studies cannot be scored now: %s", error.code)

    def take_up(self) -> None:
        """Go on with what an earlier server was at."""
        try:
            left = self._store().unfinished()
        except CovidBertError as error:
            logger.warning("The scores of studies cannot be opened: %s", error.code)
            return
        for method in left[:1]:
            self.ensure(method)

    def running(self) -> ScoringTask | None:
        """The run that is under way, or None."""
        last = self._tasks[-1] if self._tasks else None
        return last if last is not None and last.status in {"SUBMITTED", "RUNNING"} else None

    def tasks(self) -> list[ScoringTask]:
        """The runs since the server's start, at most 20, the newest last."""
        return list(self._tasks)

    def stop(self) -> ScoringTask | None:
        """Stop the run that is under way, and return it; None if none is. What was scored stays."""
        with self._lock:
            task, thread = self.running(), self._thread
            self._stop.set()
        if task is not None and thread is not None:
            thread.join()
        return task

    def close(self) -> None:
        """Stop; the next server goes on where this one was."""
        self._closing.set()
        self.stop()

    def _run(self, task: ScoringTask, method: str) -> None:
        task.status = "RUNNING"
        try:
            self._score_all(task)
            ended: Literal["STOPPED", "DONE"] = "STOPPED" if self._stop.is_set() else "DONE"
        except CovidBertError as error:
            self._fail(task, method, error)
        except Exception as error:
            logger.error("The scoring of studies ended: %s", describe(error))
            self._fail(task, method, InternalError("An unexpected error.", "Look in the server's log."))
        else:
            self._end(task, method, ended)

    def _score_all(self, task: ScoringTask) -> None:
        """Score until nothing is missing; weights that go live meanwhile make all of it missing again."""
        tried: set[str] = set()
        weights = ""
        while not self._stop.is_set():
            live = weights_digest()
            if live != weights:
                tried, weights = set(), live
            todo = {name: image for name, image in self._missing().items() if name not in tried}
            if not todo:
                return
            task.total = task.done + len(todo)
            for identifier, image in todo.items():
                if self._stop.is_set() or weights_digest() != weights:
                    break
                tried.add(identifier)
                task.failed += not self._score(task, identifier, image, weights)
                task.done += not self._stop.is_set()
                task.details = [f"{task.done} of {task.total} studies, {task.failed} without scores"]

    def _score(self, task: ScoringTask, identifier: str, image: Path, weights: str) -> bool:
        """Score one study, and return whether it has scores now."""
        for _ in range(_MOST_DEATHS):
            self._wait_for_inferences(task)
            if self._stop.is_set():
                return True
            try:
                answer = self._answer(task, identifier, image)
            except WorkerDiedError as error:
                self._end_worker()
                code = error.code
                continue
            if self._stop.is_set():
                return True
            if "error" in answer and answer["error"]["code"] in _ENDING:
                raise WeightsError(answer["error"]["message"], answer["error"]["hint"])
            return "error" not in answer and bool(answer["params"]["scored"])
        self._store().fail_study(identifier, weights, code)
        return False

    def _answer(self, task: ScoringTask, identifier: str, image: Path) -> dict[str, Any]:
        """Let the process score a study, let it wait while there are inferences, and return its last message."""
        if self._worker is None or not self._worker.alive:
            self._end_worker()
            self._worker = Worker(self._make_compute)
        worker = self._worker
        worker.run({"identifier": identifier, "image": str(image)}, image)
        while True:
            message = worker.receive(_POLL_SECONDS)
            if message is not None and "stage" not in message:
                task.waiting = False
                return message
            if self._stop.is_set():
                # The process is ended: nothing of this study would be kept, whatever its next step.
                return {"error": CancelledError("The scoring was stopped.", "Start it again when you like.").to_json()}
            if (busy := self._busy()) != task.waiting:
                (worker.pause if busy else worker.resume)()
                task.waiting = busy

    def _wait_for_inferences(self, task: ScoringTask) -> None:
        while not self._stop.is_set() and self._busy():
            task.waiting = True
            self._stop.wait(_POLL_SECONDS)
        task.waiting = False

    def _fail(self, task: ScoringTask, method: str, error: CovidBertError) -> None:
        task.error = {"code": error.code, "message": error.message, "hint": error.hint}
        self._end(task, method, "ERROR")

    def _end(self, task: ScoringTask, method: str, status: Literal["STOPPED", "DONE", "ERROR"]) -> None:
        self._end_worker()
        if not self._closing.is_set():
            try:
                self._store().end(method)
            except CovidBertError as error:
                logger.warning("The end of a scoring cannot be noted: %s", error.code)
        task.end_ts, task.waiting = stamp(), False
        task.status = status

    def _end_worker(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = None
