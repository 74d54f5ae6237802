"""MONAI Label's routes that need little else than its app, on threads: nothing waits on the event loop."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from monailabel.endpoints.activelearning import sample
from pydantic import BaseModel, ConfigDict, Field

from covid_bert.main import CovidBertApp


class StrategyParameters(BaseModel):
    """Body of ``POST /activelearning/{strategy}``.

    Parameters
    ----------
    client_id
        As MONAI Label's clients name themselves.
    label_tag
        Studies with a label of this tag count as labelled.
    labels
        Names of structures that such a label must have.
    """

    model_config = ConfigDict(extra="forbid")

    client_id: str | None = Field(default=None, max_length=200)
    label_tag: str | None = Field(default=None, max_length=64)
    labels: list[str] | None = Field(default=None, max_length=100)


def install(app: FastAPI, opened: CovidBertApp) -> None:
    """Add the routes to an application.

    Parameters
    ----------
    app
        The application.
    opened
        MONAI Label's app.
    """

    @app.get("/info/", tags=["App"], summary="Models, labels and studies of the server")
    def info() -> dict[str, Any]:
        return dict(opened.info())

    @app.post("/activelearning/{strategy}", tags=["ActiveLearning"], summary="Ask for the next study")
    def next_study(request: Request, strategy: str, params: StrategyParameters | None = None) -> dict[str, Any]:
        given = {} if params is None else params.model_dump(exclude_none=True)
        found = sample(strategy, given, request.state.caller.name)
        # The server's own path of the study is nobody else's business.
        return {name: value for name, value in found.items() if name != "path"}
