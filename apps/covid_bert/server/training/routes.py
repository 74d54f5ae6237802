"""MONAI Label's ``/train``: start, follow and stop trainings."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool

from covid_bert.errors import BusyError, CancelledError, NotFoundError, ParameterError
from covid_bert.retraining.parameters import TRAINERS, TrainingParameters
from covid_bert.server.authentication import caller_of
from covid_bert.server.training.runs import Run
from covid_bert.server.training.shown import TrainingTask, as_task
from covid_bert.server.training.trainings import Trainings
from covid_bert.tasks.parameters import FOREIGN_KEYS

# Between two looks whether a training that a client waits for has ended.
_WAIT_SECONDS = 0.1
# For a training that is stopped, before its state is told as it is.
_STOP_SECONDS = 10.0


def install(app: FastAPI, trainings: Trainings) -> None:
    """Add the routes to an application.

    Parameters
    ----------
    app
        The application, which turns `CovidBertError` into replies.
    trainings
        What runs them; started and closed by the caller.
    """

    @app.get("/train/", tags=["Train"], summary="State of the training that runs, else of the newest")
    def status(all: bool = False, check_if_running: bool = False) -> TrainingTask | list[TrainingTask]:
        runs, current = trainings.runs(), trainings.current()
        if not runs or (check_if_running and current is None):
            raise NotFoundError("There is no training.", "Start one with POST /train/{model}.")
        return [as_task(run) for run in runs] if all and not check_if_running else as_task(current or runs[-1])

    @app.post("/train/", tags=["Train"], summary="Train all models, one after the other")
    def start_all(request: Request, params: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
        given = _without_foreign(params or {})
        unknown = [name for name in given if name not in TRAINERS]
        if unknown or not all(isinstance(value, dict) for value in given.values()):
            raise ParameterError(
                "The request holds something else than the parameters of the models.",
                f"Give an object for some of: {', '.join(TRAINERS)}.",
            )
        checked = {model: TrainingParameters.of_request(_without_foreign(given.get(model, {}))) for model in TRAINERS}
        owner = caller_of(request).name
        replies: dict[str, dict[str, Any]] = {}
        for model, parameters in checked.items():
            try:
                run = trainings.submit(model, parameters, owner, enqueue=True)
                replies[model] = {"result": as_task(run), "detail": None}
            except BusyError as error:
                replies[model] = {"result": None, "detail": error.message}
        return replies

    @app.post("/train/{model}", tags=["Train"], summary="Train a model on the labels")
    async def start(
        request: Request,
        model: str,
        params: dict[str, Any] | None = None,
        run_sync: bool = False,
        enqueue: bool = False,
    ) -> TrainingTask:
        if model not in TRAINERS:
            raise NotFoundError("The server does not train a model of that name.", f"It trains: {', '.join(TRAINERS)}.")
        parameters = TrainingParameters.of_request(_without_foreign(params or {}))
        owner = caller_of(request).name
        run = await run_in_threadpool(trainings.submit, model, parameters, owner, enqueue=enqueue)
        if run_sync:
            await _ended(request, run, math.inf)
        return await run_in_threadpool(as_task, run)

    @app.delete("/train/", tags=["Train"], summary="Stop the training that runs")
    async def stop(request: Request) -> TrainingTask:
        current = trainings.current()
        stopped = None if current is None else await run_in_threadpool(trainings.stop, current.request.id)
        if stopped is None:
            raise NotFoundError("No training runs.", "Ask for the state of the trainings with GET /train/.")
        # It ends at its next step: most clients need not ask again.
        await _ended(request, stopped, _STOP_SECONDS)
        return await run_in_threadpool(as_task, stopped)


async def _ended(request: Request, run: Run, longest: float) -> None:
    """Wait until a training has ended, for some seconds at most; it does not depend on the client's staying."""
    end = time.monotonic() + longest
    while not run.ended and time.monotonic() < end:
        await asyncio.sleep(_WAIT_SECONDS)
        if await request.is_disconnected():
            raise CancelledError("The client left.", "Ask for the state of the training with GET /train/.")


def _without_foreign(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters without what MONAI Label's clients add for their own purposes, and without empty fields."""
    return {
        name: value for name, value in params.items() if name not in FOREIGN_KEYS and value is not None and value != ""
    }
