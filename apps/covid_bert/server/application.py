"""The ASGI application: MONAI Label's own, made fit for use.

It gets typed errors, a guard against web pages, inference on a worker thread, and a health check.

Import it only after `covid_bert.server.launch.prepare` has set MONAI Label's settings in the environment: MONAI Label
reads them when it is imported.
"""

from __future__ import annotations

import functools
import logging
import uuid
from typing import Any

from fastapi import BackgroundTasks, Depends, Request
from fastapi.responses import JSONResponse
from monailabel.app import app
from monailabel.config import settings
from monailabel.endpoints.infer import run_inference
from monailabel.endpoints.user.auth import RBAC
from monailabel.interfaces.exception import MONAILabelException
from monailabel.interfaces.utils.app import app_instance

from covid_bert import RESEARCH_USE_ONLY, __version__
from covid_bert.errors import CovidBertError
from covid_bert.server.guard import LoopbackGuard
from covid_bert.server.requests import check_infer_request

logger = logging.getLogger(__name__)


@functools.wraps(run_inference)
def _infer(background_tasks: BackgroundTasks, **arguments: Any) -> Any:
    """Check what MONAI Label's function takes on trust, and remove uploads also when it fails."""
    try:
        check_infer_request(app_instance().datastore(), **arguments)
        return run_inference(background_tasks, **arguments)
    except BaseException:
        for task in background_tasks.tasks:
            task.func(*task.args, **task.kwargs)
        raise


# MONAI Label's own handler computes on the event loop, and nothing else is answered until it ends; the same function
# as a plain one runs on a worker thread. The first route that matches is taken.
app.add_api_route(
    "/infer/{model}",
    _infer,
    methods=["POST"],
    dependencies=[Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))],
    include_in_schema=False,
)
app.router.routes.insert(0, app.router.routes.pop())

# MONAI Label logs whole requests, which name studies and paths.
logging.getLogger("monailabel").setLevel(logging.WARNING)
app.add_middleware(LoopbackGuard)

__all__ = ["app"]


@app.exception_handler(CovidBertError)
async def _typed_error(_: Request, error: CovidBertError) -> JSONResponse:
    return _reply(error.http_status, error.code, error.message, error.hint)


@app.exception_handler(MONAILabelException)
async def _monailabel_error(_: Request, error: MONAILabelException) -> JSONResponse:
    """MONAI Label raises this for names that it does not know; without a handler it would be a bare 500."""
    return _reply(404, "not-found", str(error.msg), "Ask for what there is with GET /info/.")


@app.exception_handler(Exception)
async def _unexpected(_: Request, error: Exception) -> JSONResponse:
    request_id = uuid.uuid4().hex[:12]
    logger.error("Request %s failed", request_id, exc_info=error)
    return _reply(
        500,
        "internal",
        "The server met an error that it does not know.",
        f"Look for the request id {request_id} in the server's log.",
        request_id,
    )


@app.get("/healthz", include_in_schema=False)
async def healthz() -> dict[str, str]:
    """Say that the server runs, and what it is."""
    return {"status": "ok", "version": __version__, "notice": RESEARCH_USE_ONLY}


def _reply(status: int, code: str, message: str, hint: str, request_id: str | None = None) -> JSONResponse:
    detail = {"code": code, "message": message, "hint": hint, "request_id": request_id or uuid.uuid4().hex[:12]}
    return JSONResponse({"detail": detail}, status_code=status)
