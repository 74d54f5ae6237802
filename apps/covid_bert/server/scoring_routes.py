"""MONAI Label's ``/scoring/``: scores of all studies for the strategies."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict

from covid_bert.errors import NotFoundError, ParameterError
from covid_bert.server.scoring import Scoring, ScoringTask
from covid_bert.tasks.scoring import METHOD


class ScoringParameters(BaseModel):
    """Body of ``POST /scoring/{method}``: it has no parameters yet that a client could set."""

    model_config = ConfigDict(extra="forbid")


def install(app: FastAPI, scoring: Scoring) -> None:
    """Add the routes to an application.

    Parameters
    ----------
    app
        The application, which turns `CovidBertError` into replies.
    scoring
        What runs them.
    """

    @app.get("/scoring/", tags=["Scoring"], summary="State of the last scoring")
    def status(all: bool = False, check_if_running: bool = False) -> ScoringTask | list[ScoringTask]:
        known, running = scoring.tasks(), scoring.running()
        if not known or (check_if_running and running is None):
            raise NotFoundError("There is no scoring.", "Start one with POST /scoring/.")
        return known if all and not check_if_running else running or known[-1]

    @app.post("/scoring/", tags=["Scoring"], summary="Score all studies")
    def start_all(params: ScoringParameters | None = None, run_sync: bool = False) -> dict[str, Any]:  # noqa: ARG001
        return {METHOD: {"result": _started(METHOD, run_sync), "detail": None}}

    @app.post("/scoring/{method}", tags=["Scoring"], summary="Score all studies with one method")
    def start(method: str, params: ScoringParameters | None = None, run_sync: bool = False) -> ScoringTask:  # noqa: ARG001
        return _started(method, run_sync)

    @app.delete("/scoring/", tags=["Scoring"], summary="Stop the scoring")
    def stop() -> ScoringTask | None:
        return scoring.stop()

    def _started(method: str, run_sync: bool) -> ScoringTask:
        if method != METHOD:
            raise NotFoundError("The server has no scoring method with that name.", "Ask for the list with GET /info/.")
        if run_sync:
            raise ParameterError("Studies are scored in the background.", "Leave run_sync out, and ask GET /scoring/.")
        return scoring.start(method)
