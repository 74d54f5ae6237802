"""The server's trainings: asked for, waiting, running one at a time, stopped, and taken up again after a restart."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from covid_bert.datastore.forgetting import REMEMBERED_RUNS
from covid_bert.errors import CancelledError, ConflictError, InternalError, OutputError, WorkerDiedError
from covid_bert.logs import describe
from covid_bert.retraining.parameters import TrainingParameters
from covid_bert.retraining.run_folder import forget_old_runs, list_runs, new_run
from covid_bert.retraining.run_records import RunResult, Standing
from covid_bert.server.jobs.clock import SteadyClock
from covid_bert.server.training.runs import MOST_WAITING, Run, busy, hopeless
from covid_bert.workers import MakeCompute, Worker

logger = logging.getLogger(__name__)

_POLL_SECONDS, _RETRY_SECONDS = 0.1, 1.0


class Trainings:
    """Runs trainings one after the other, each in a process of its own.

    What runs when the server is killed or stopped goes on from its last checkpoint when it starts again. A training
    whose process ends unexpectedly is taken up again, until it ended too often at one place.

    Parameters
    ----------
    folder
        For one folder for each run; made with mode 0700.
    make_compute
        For `covid_bert.workers.Worker`; what it returns gets the run's folder.
    grace_seconds
        That a training which is stopped has until its process is killed.
    on_end
        Called with each run that has ended; may fail.
    """

    def __init__(
        self,
        folder: Path,
        make_compute: MakeCompute,
        *,
        grace_seconds: float = 20.0,
        on_end: Callable[[Run], None] = lambda _: None,
    ) -> None:
        self._folder, self._make_compute, self._grace, self._on_end = folder, make_compute, grace_seconds, on_end
        self._clock = SteadyClock()
        self._lock = threading.RLock()
        self._news, self._closing = threading.Event(), threading.Event()
        self._worker: Worker | None = None
        self._thread = threading.Thread(target=self._work, name="trainings", daemon=True)
        forget_old_runs(folder, keep=REMEMBERED_RUNS)
        self._runs = [
            Run(run, request, run.state()) for run, request in list_runs(folder) if request.origin == "server"
        ]

    @property
    def pid(self) -> int | None:
        """Id of the process that trains, while there is one."""
        worker = self._worker
        return None if worker is None else worker.pid

    @property
    def alive(self) -> bool:
        """Whether trainings are taken up."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin, with what an earlier server left."""
        self._thread.start()

    def close(self) -> None:
        """Stop. What runs writes its checkpoint, as far as there is time, and goes on after the next start."""
        self._closing.set()
        self._news.set()
        if self.alive:
            self._thread.join()

    def runs(self) -> list[Run]:
        """The trainings that are known, the oldest first."""
        with self._lock:
            # Old ones are forgotten, not only here.
            self._runs = [run for run in self._runs if not run.ended or run.folder.path.exists()]
            for run in self._runs:
                if run.ended:
                    run.look_again()
            return list(self._runs)

    def find(self, identifier: str) -> Run | None:
        """The training with an id, or None."""
        return next((run for run in self.runs() if run.request.id == identifier), None)

    def current(self) -> Run | None:
        """The training that runs, else the next one that waits, else None."""
        unfinished = [run for run in self.runs() if not run.ended]
        return next((run for run in unfinished if run.standing.status == "running"), next(iter(unfinished), None))

    def count(self, status: str) -> int:
        """How many trainings stand so."""
        return sum(run.standing.status == status for run in self.runs())

    def submit(self, model: str, parameters: TrainingParameters, owner: str, *, enqueue: bool) -> Run:
        """Ask for a training.

        Parameters
        ----------
        model
            Name of a trainer.
        parameters
            Checked.
        owner
            Name of the token of who asks.
        enqueue
            Whether it may wait while another one runs.

        Raises
        ------
        BusyError
            If another one runs or waits and it may not wait, or too many wait already.
        OutputError
            If it cannot be written.
        """
        with self._lock:
            unfinished = [run for run in self._runs if not run.ended]
            if unfinished and (not enqueue or len(unfinished) > MOST_WAITING):
                raise busy(unfinished)
            folder = new_run(self._folder, model, parameters, owner=owner, origin="server")
            run = Run(folder, folder.request(), Standing())
            self._runs.append(run)
        self._news.set()
        return run

    def stop(self, identifier: str) -> Run | None:
        """Ask a training to stop; one that has ended stays as it is.

        Returns
        -------
        Run or None
            The training; None if there is none with that id.

        Raises
        ------
        OutputError
            If it cannot be noted; the training goes on then.
        ConflictError
            If it goes on at the command line.
        """
        with self._lock:
            run = self.find(identifier)
            if run is not None and run.ended and run.standing.status == "running":
                raise ConflictError(
                    "The training was taken up at the command line, where it goes on.", "Stop it there, with Ctrl-C."
                )
            if run is None or run.ended:
                return run
            waits = run.standing.status == "waiting"
            # On the disk first: a server that is killed in this moment does not take it up again.
            self._set(run, stop_asked=True, **({"status": "stopped", "ended": self._clock()} if waits else {}))
        if waits:
            self._tell_end(run)
        return run

    def _work(self) -> None:
        while not self._closing.is_set():
            try:
                run = self.current()
                if run is None:
                    self._news.wait(_RETRY_SECONDS)
                    self._news.clear()
                else:
                    self._run(run)
            except Exception as error:
                logger.warning("The trainings could not go on (%s); they try again", describe(error))
                self._closing.wait(_RETRY_SECONDS)

    def _run(self, run: Run) -> None:
        """Let a process work on a run until that ends, the server stops, or the process does."""
        with self._lock:
            if run.ended:
                return
            if not (run.standing.stop_asked or run.standing.hopeless):
                self._set(run, status="running", started=run.standing.started or self._clock())
        if run.standing.stop_asked:
            self._end(run, status="stopped")
            return
        if run.standing.hopeless:
            self._end(run, status="failed", error=hopeless(run).to_json())
            return
        try:
            outcome = self._outcome(run)
        except WorkerDiedError:
            self._count_death(run)
            run.folder.log("The process of the training ended unexpectedly.")
            logger.warning("The process of a training ended unexpectedly (%d)", len(run.standing.deaths))
            self._closing.wait(_RETRY_SECONDS)
            return
        finally:
            self._end_worker()
        if outcome is None:
            self._set(run, status="waiting")
        else:
            self._keep(run, outcome)

    def _outcome(self, run: Run) -> dict[str, Any] | None:
        """What the process said at the end, or an error in its place; None if the run is to go on later."""
        worker = self._worker = Worker(self._make_compute)
        worker.run({}, run.folder.path)
        kill_at: float | None = None
        while True:
            message = worker.receive(_POLL_SECONDS)
            if message is not None and ("params" in message or "error" in message):
                cancelled = message.get("error", {}).get("code") == CancelledError.code
                # Asked by nobody here: the server stops.
                return None if cancelled and not run.standing.stop_asked else message
            if kill_at is None and (self._closing.is_set() or run.standing.stop_asked):
                worker.cancel()
                kill_at = time.monotonic() + self._grace
            elif kill_at is not None and time.monotonic() >= kill_at:
                return {"error": CancelledError("").to_json()} if run.standing.stop_asked else None

    def _keep(self, run: Run, outcome: dict[str, Any]) -> None:
        error = outcome.get("error")
        if error is not None and error["code"] == CancelledError.code:
            self._end(run, status="stopped")
        elif error is not None:
            self._end(run, status="failed", error=error)
        else:
            try:
                self._end(run, status="done", result=RunResult.model_validate(outcome["params"]))
            except ValidationError as damaged:
                logger.error("The outcome of a training cannot be understood: %s", describe(damaged))
                failure = InternalError("The training ended with an answer that cannot be understood.")
                self._end(run, status="failed", error=failure.to_json())

    def _end(self, run: Run, **changes: Any) -> None:
        """Note how a run ended, and try until the disk takes it; if the server stops before, the run is done again."""
        while True:
            try:
                self._set(run, ended=self._clock(), **changes)
                break
            except OutputError as error:
                logger.warning("The end of a training cannot be written; trying again: %s", error)
                if self._closing.wait(_RETRY_SECONDS):
                    return
        self._tell_end(run)

    def _tell_end(self, run: Run) -> None:
        # What a full disk ended can be taken up again from its checkpoint, on the command line.
        if (run.standing.error or {}).get("code") != OutputError.code:
            run.folder.remove_work()
        forget_old_runs(self._folder, keep=REMEMBERED_RUNS)
        try:
            self._on_end(run)
        except Exception as error:
            logger.error("The end of a training could not be told: %s", describe(error))

    def _count_death(self, run: Run) -> None:
        """Count it also where the disk does not take it: the next state that is written has it."""
        with self._lock:
            counted = run.standing.died(run.folder.live())
            try:
                self._put(run, counted)
            except OutputError as error:
                logger.warning("The end of a process cannot be noted yet: %s", error)
                run.standing = counted

    def _set(self, run: Run, **changes: Any) -> None:
        with self._lock:
            self._put(run, run.standing.changed(**changes))

    @staticmethod
    def _put(run: Run, standing: Standing) -> None:
        run.folder.write_state(standing)
        run.standing = standing

    def _end_worker(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = None
