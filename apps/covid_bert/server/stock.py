"""MONAI Label's routes that need little else than its app, on threads: nothing waits on the event loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field

from covid_bert.datastore.names import LabelTag
from covid_bert.datastore.reading import text_of
from covid_bert.datastore.sending import told_information
from covid_bert.main import CovidBertApp
from covid_bert.server.audit_events import note_study
from covid_bert.server.authentication import caller_of
from covid_bert.server.reservations import Reservations


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


def install(app: FastAPI, opened: CovidBertApp, reservations: Reservations, score_soon: Callable[[], None]) -> None:
    """Add the routes to an application.

    Parameters
    ----------
    app
        The application.
    opened
        MONAI Label's app.
    reservations
        Keeps a study that is handed out from other readers.
    score_soon
        Called when a strategy was asked for that needs scores.
    """

    @app.get("/info/", tags=["App"], summary="Models, labels and studies of the server")
    def info() -> dict[str, Any]:
        return dict(opened.info())

    @app.post("/activelearning/{strategy}", tags=["ActiveLearning"], summary="Ask for the next study")
    def next_study(request: Request, strategy: str, params: StrategyParameters | None = None) -> dict[str, Any]:
        given, caller = params or StrategyParameters(), caller_of(request)
        chosen, store = opened.strategy(strategy), opened.datastore()
        if chosen.needs_scores:
            score_soon()
        tag = text_of(given.label_tag or LabelTag.FINAL)
        free = store.get_unlabeled_images(tag, given.labels)
        # Without tokens all have one name; what a client calls itself then keeps two readers apart.
        reader = (given.client_id or caller.name) if caller.alone else caller.name
        found = reservations.hand_out(
            reader,
            tag,
            free,
            set(store.list_images()).difference(free),
            lambda candidates, covered: chosen.choose(candidates, covered, tag),
        )
        if found is None:
            return {}
        study = found["id"]
        note_study(request, study)
        # As MONAI Label writes it; clients show it.
        handed = dict(store.get_image_info(study).get("strategy", {}))
        handed[strategy] = {"ts": int(time.time()), "client_id": given.client_id or caller.name}
        store.update_image_info(study, {"strategy": handed})
        return {**told_information(store.get_image_info(study)), **found}
