"""MONAI Label's ``/batch/infer``: a model over many studies, one job after the other in the queue of all jobs."""

from __future__ import annotations

import logging
import threading
import uuid
from collections import deque
from enum import Enum
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field

from covid_bert.errors import BusyError, CovidBertError, InternalError, NotFoundError
from covid_bert.logs import describe
from covid_bert.main import CovidBertApp
from covid_bert.server.authentication import Caller, caller_of
from covid_bert.server.inference import SaveLabel
from covid_bert.server.jobs.runner import JobRunner
from covid_bert.tasks.stamps import stamp

logger = logging.getLogger(__name__)

_REMEMBERED = 20
_BUSY_SECONDS = 1.0


class Images(str, Enum):
    """Which studies of the datastore."""

    ALL = "all"
    LABELED = "labeled"
    UNLABELED = "unlabeled"


class BatchParameters(BaseModel):
    """Body of ``POST /batch/infer/{model}``; further keys are the model's own parameters.

    Parameters
    ----------
    images
        Ids of studies, in place of those that the address asks for.
    label_tag
        Tag of the labels that are saved.
    max_batch_size
        Most studies; 0 for all.
    """

    model_config = ConfigDict(extra="allow")

    images: list[Annotated[str, Field(max_length=256)]] | None = Field(default=None, max_length=10_000)
    label_tag: Literal["final", "original"] = "original"
    max_batch_size: int = Field(default=0, ge=0, le=1_000_000)


class BatchTask(BaseModel):
    """State of a batch, as MONAI Label shows it; ``errors`` has the studies that failed."""

    id: str
    status: Literal["SUBMITTED", "RUNNING", "DONE", "STOPPED", "ERROR"]
    request: dict[str, Any]
    start_ts: str
    end_ts: str | None = None
    details: list[str] = Field(default_factory=list)
    errors: dict[str, Any] = Field(default_factory=dict)


class Batches:
    """Runs one batch at a time.

    Parameters
    ----------
    runner
        The queue of jobs.
    save
        Keeps a result as a label.
    """

    def __init__(self, runner: JobRunner, save: SaveLabel) -> None:
        self.requests = runner.requests
        self._runner, self._save = runner, save
        self._tasks: deque[BatchTask] = deque(maxlen=_REMEMBERED)
        self._stop = threading.Event()
        self._job: tuple[str, Caller] | None = None
        self._lock = threading.Lock()

    def start(self, model: str, studies: list[str], params: dict[str, Any], tag: str, caller: Caller) -> BatchTask:
        """Begin a batch.

        Raises
        ------
        BusyError
            If one runs, or the system lets no thread begin.
        """
        task = BatchTask(
            id=str(uuid.uuid4()),
            status="SUBMITTED",
            request={"model": model, "label_tag": tag, "images": len(studies)},
            start_ts=stamp(),
        )
        with self._lock:
            if self.running() is not None:
                raise BusyError("A batch runs already.", "Wait until it is done, or stop it.", retry_after=60)
            self._tasks.append(task)
            self._stop.clear()
        try:
            threading.Thread(target=self._run, args=(task, studies, params, caller), name="batch", daemon=True).start()
        except RuntimeError as error:
            logger.error("A batch could not begin: %s", describe(error))
            busy = BusyError("The server has no thread free for a batch.", "Try again in a minute.", retry_after=60)
            self._fail(task, busy)
            raise busy from error
        return task

    def running(self) -> BatchTask | None:
        """The batch that runs, or None."""
        last = self._tasks[-1] if self._tasks else None
        return last if last is not None and last.status in {"SUBMITTED", "RUNNING"} else None

    def tasks(self) -> list[BatchTask]:
        """The batches since the server's start, at most 20, the newest last."""
        return list(self._tasks)

    def stop(self) -> BatchTask | None:
        """Stop the batch that runs after cancelling its job, and return it; None if none runs."""
        task, job = self.running(), self._job
        self._stop.set()
        if task is not None and job is not None:
            self._runner.cancel(*job)
        return task

    def _run(self, task: BatchTask, studies: list[str], params: dict[str, Any], caller: Caller) -> None:
        task.status = "RUNNING"
        try:
            for number, study in enumerate(studies, start=1):
                if self._stop.is_set():
                    break
                try:
                    self._infer(task.request["model"], study, params, task.request["label_tag"], caller)
                except CovidBertError as error:
                    task.errors[study] = {"code": error.code, "message": error.message, "hint": error.hint}
                task.details = [f"{number} of {len(studies)} studies, {len(task.errors)} failed"]
            task.status = "STOPPED" if self._stop.is_set() else "DONE"
        except Exception as error:
            logger.error("A batch ended: %s", describe(error))
            self._fail(task, InternalError("An unexpected error.", "Look in the server's log."))
        finally:
            task.end_ts = stamp()

    @staticmethod
    def _fail(task: BatchTask, error: CovidBertError) -> None:
        task.errors["*"] = error.to_json()
        task.end_ts = stamp()
        task.status = "ERROR"

    def _infer(self, model: str, study: str, params: dict[str, Any], tag: str, caller: Caller) -> None:
        prepared = self._runner.requests.prepare(model, params, image=study)
        while not self._stop.is_set():
            try:
                job = self._runner.submit(prepared, caller)
            except BusyError:
                self._stop.wait(_BUSY_SECONDS)
                continue
            self._job = job.id, caller
            if self._stop.is_set():
                self._runner.cancel(job.id, caller)
            try:
                self._runner.completion(job.id).result()
            finally:
                self._job = None
            result = self._runner.result(job.id, caller)
            if result.file is not None:
                self._save(study, result, tag, model, caller)
            return


def install(app: FastAPI, batches: Batches, opened: CovidBertApp) -> None:
    """Add the routes to an application.

    Parameters
    ----------
    app
        The application, which turns `CovidBertError` into replies.
    batches
        What runs them.
    opened
        MONAI Label's app, for its datastore.
    """

    @app.post("/batch/infer/{model}", tags=["Infer"], summary="Run a model on many studies")
    def start(
        request: Request, model: str, images: Images = Images.ALL, params: BatchParameters | None = None
    ) -> BatchTask:
        given = params or BatchParameters()
        own = batches.requests.check(model, dict(given.model_extra or {}))
        store = opened.datastore()
        if given.images is not None:
            studies = given.images
        elif images is Images.ALL:
            studies = store.list_images()
        else:
            listed = store.get_labeled_images if images is Images.LABELED else store.get_unlabeled_images
            studies = listed(given.label_tag)
        studies = sorted(set(studies))[: given.max_batch_size or None]
        return batches.start(model, studies, own, given.label_tag, caller_of(request))

    @app.get("/batch/infer", tags=["Infer"], summary="State of the last batch")
    def status(all: bool = False, check_if_running: bool = False) -> BatchTask | list[BatchTask]:
        known = batches.tasks()
        running = batches.running()
        if not known or (check_if_running and running is None):
            raise NotFoundError("There is no batch.", "Start one with POST /batch/infer/{model}.")
        return known if all and not check_if_running else running or known[-1]

    @app.delete("/batch/infer", tags=["Infer"], summary="Stop the batch that runs")
    def stop() -> BatchTask | None:
        return batches.stop()
