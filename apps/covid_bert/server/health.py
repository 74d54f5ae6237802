"""What watches the server asks: whether it runs, whether it is ready, which version it is, and its numbers."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monailabel
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

from covid_bert import RESEARCH_USE_ONLY, __version__
from covid_bert.errors import TokensUnusableError
from covid_bert.logs import describe
from covid_bert.main import CovidBertApp
from covid_bert.pacs.errors import PacsError
from covid_bert.pacs.studies import PacsStudies
from covid_bert.server.metrics import Metrics
from covid_bert.server.replies import error_reply

logger = logging.getLogger(__name__)


def install(
    app: FastAPI,
    metrics: Metrics,
    opened: Callable[[], CovidBertApp],
    queue_runs: Callable[[], bool],
    tokens_required: Callable[[], bool],
) -> None:
    """Add the routes to an application.

    Parameters
    ----------
    app
        The application.
    metrics
        The server's numbers.
    opened
        Returns MONAI Label's app.
    queue_runs
        Tells whether jobs are taken from the queue.
    tokens_required
        Tells whether requests need a token; raises `TokensUnusableError` where that cannot be known.
    """

    # On the event loop: it never waits for a thread that something else holds.
    @app.get("/healthz", tags=["Health"], summary="Say that the server runs")
    async def healthz() -> dict[str, str]:
        return {"status": "ok", "version": __version__, "notice": RESEARCH_USE_ONLY}

    @app.get("/version", tags=["Health"], summary="Versions of the server")
    async def version() -> dict[str, str]:
        return {
            "name": "covid-bert",
            "version": __version__,
            "monailabel": monailabel.__version__,
            "notice": RESEARCH_USE_ONLY,
        }

    @app.get("/readyz", tags=["Health"], summary="Say whether models and studies can be used", response_model=None)
    def readyz(request: Request) -> JSONResponse | dict[str, Any]:
        reason = why_not_ready(opened, tokens_required)
        if reason is None and not queue_runs():
            reason = "The queue of jobs does not run; the server must be started again."
        if reason is None:
            archive = _archive(opened())
            return {"status": "ready"} if archive is None else {"status": "ready", "archive": archive}
        return error_reply(
            request.scope,
            503,
            "not-ready",
            reason,
            "Run `covid-bert doctor` on the server.",
            headers={"Retry-After": "10"},
        )

    @app.get("/metrics", tags=["Health"], summary="Numbers for Prometheus", response_class=Response)
    def numbers() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _archive(app: CovidBertApp) -> dict[str, Any] | None:
    """How the archive of the studies is: while it is down, those that are here can still be used."""
    store = app.datastore()
    return store.archive_state() if isinstance(store, PacsStudies) else None


def why_not_ready(opened: Callable[[], CovidBertApp], tokens_required: Callable[[], bool]) -> str | None:
    """Return a sentence on what is missing, or None if tokens, models and datastore can be used.

    Parameters
    ----------
    opened, tokens_required
        As for `install`.
    """
    try:
        tokens_required()
        app = opened()
        if not app.info()["models"]:
            return "No model could be opened."
        if not os.access(Path(app.studies), os.R_OK | os.X_OK):
            return "The folder with the studies cannot be read."
        app.datastore().status()
    except (TokensUnusableError, PacsError) as error:
        logger.warning("Not ready: %s", error)
        return error.message
    except Exception as error:
        logger.warning("Not ready: %s", describe(error))
        return "Models or studies cannot be opened."
    return None
