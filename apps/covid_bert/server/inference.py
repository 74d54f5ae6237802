"""MONAI Label's own ``POST /infer/{model}``, answered by the queue of jobs: it waits, and blocks nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from fastapi import BackgroundTasks, FastAPI, File, Form, Request, Response, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from monailabel.endpoints.infer import ResultType, send_response
from monailabel.interfaces.datastore import Datastore

from covid_bert.datastore.names import UPLOAD_SUFFIXES, required_suffix
from covid_bert.errors import CancelledError, CovidBertError, GoneError, NotAllowedError, ParameterError
from covid_bert.logs import current_request
from covid_bert.main import CovidBertApp
from covid_bert.server.access import Role
from covid_bert.server.audit import AuditLog
from covid_bert.server.authentication import Caller, caller_of
from covid_bert.server.jobs.records import interrupted
from covid_bert.server.jobs.routes import Release
from covid_bert.server.jobs.runner import JobResult, JobRunner
from covid_bert.server.received import received
from covid_bert.server.releasing import Releasing
from covid_bert.server.requests import check_infer_request

# Seconds between two looks whether the client still waits.
_LEFT_SECONDS = 1.0


# Called with study, result, tag, model and caller; keeps the image of a result as a label, and returns its id.
SaveLabel = Callable[[str, JobResult, str, str, Caller], str]


def install(
    app: FastAPI,
    runner: JobRunner,
    opened: CovidBertApp,
    hold_session: Callable[[Request, str], Release],
    save: SaveLabel,
) -> None:
    """Add the route to an application.

    Parameters
    ----------
    app
        The application, which turns `CovidBertError` into replies.
    runner
        The queue.
    opened
        MONAI Label's app, for its datastore.
    hold_session
        As for `covid_bert.server.jobs.routes.install`.
    save
        Keeps a result as a label.
    """

    @app.post("/infer/{model}", tags=["Infer"], summary="Run an inference and wait for it", response_model=None)
    async def infer(
        request: Request,
        model: str,
        image: str = "",
        session_id: str = "",
        params: Annotated[str, Form()] = "{}",
        file: Annotated[UploadFile | None, File()] = None,
        label: Annotated[UploadFile | None, File()] = None,
        output: ResultType | None = None,
    ) -> Response:
        store = opened.datastore()
        parameters = check_infer_request(
            store, image=image, session_id=session_id, params=params, file=file, label=label, output=output
        )
        saves = bool(parameters.get("save_label"))
        if saves and not caller_of(request).role.covers(Role.ANNOTATOR):
            raise NotAllowedError("Saving a label needs the role annotator.", "Leave save_label out.")
        if saves and (session_id or file is not None):
            # It is another study than the one that may be named beside it.
            raise ParameterError("Labels are saved for studies of the server only.", "Leave save_label out.")
        kept = ExitStack()
        try:
            folder = Path(kept.enter_context(TemporaryDirectory(ignore_cleanup_errors=True)))
            upload = None
            if session_id:
                kept.callback(await run_in_threadpool(hold_session, request, session_id))
            elif file is not None:
                # The result of an upload goes with it.
                kept.callback(runner.remove_gone)
                arriving = received(file.file, required_suffix(file.filename or "", UPLOAD_SUFFIXES))
                upload = await run_in_threadpool(kept.enter_context, arriving)
            result = await _computed(
                runner,
                request,
                model=model,
                params=parameters,
                # As in MONAI Label: a session goes before an upload, and that before an id.
                image="" if session_id or upload else image,
                session_id=session_id,
                upload=upload,
            )
            reply = await run_in_threadpool(_own_copy, result, folder)
            if saves and result.file is not None:
                tag = parameters.get("label_tag") or "original"
                reply["label"] = await run_in_threadpool(save, image, result, tag, model, caller_of(request))
            # Its own removal of the file is not needed: the folder goes.
            answer = await run_in_threadpool(send_response, store, reply, output, BackgroundTasks())
            return Releasing(answer if isinstance(answer, Response) else JSONResponse(answer), kept)
        except BaseException:
            kept.close()
            raise


def save_label(
    store: Datastore, audit: AuditLog, image: str, result: JobResult, tag: str, model: str, caller: Caller
) -> str:
    """Keep the image of a result as a label of its study.

    Parameters
    ----------
    store
        The server's studies.
    audit
        Has a line before the label is written, and one after it.
    image
        The study's id.
    result
        With an image.
    tag
        Tag of the label.
    model
        Name of the infer task.
    caller
        Whose label it is.

    Returns
    -------
    str
        The label's id.

    Raises
    ------
    OutputError, ServerError
        If the audit log cannot be written; nothing is kept then.
    CovidBertError
        As the datastore's.
    """
    information = {"model": model, "params": result.params, "user": caller.name}
    facts = {"model": model, "request_id": current_request.get()}
    with audit.change("label-written", token=caller.name, role=caller.role.value, study=image, facts=facts):
        return str(store.save_label(image, str(result.file), tag, information))


async def _computed(
    runner: JobRunner, request: Request, *, model: str, params: dict[str, Any], **study: Any
) -> JobResult:
    """Wait for a job's result as long as the client does."""
    caller = caller_of(request)
    prepared = await run_in_threadpool(runner.requests.prepare, model, params, **study)
    job = await run_in_threadpool(runner.submit, prepared, caller)
    try:
        ended = asyncio.wrap_future(await run_in_threadpool(runner.completion, job.id))
        while not (await asyncio.wait({ended}, timeout=_LEFT_SECONDS))[0]:
            if await request.is_disconnected():
                raise CancelledError("The client left.", "Send the request again.")
    except (asyncio.CancelledError, CancelledError) as error:
        # Not awaited, since this task may be cancelled again.
        asyncio.get_running_loop().run_in_executor(None, _cancel, runner, job.id, caller)
        if isinstance(error, CancelledError):
            raise
        # The server stops, and has waited for as long as it could.
        raise interrupted() from None
    return await run_in_threadpool(runner.result, job.id, caller)


def _cancel(runner: JobRunner, identifier: str, caller: Caller) -> None:
    with contextlib.suppress(CovidBertError):
        runner.cancel(identifier, caller)


def _own_copy(result: JobResult, folder: Path) -> dict[str, Any]:
    """The reply for MONAI Label, which removes its file once it is sent."""
    if result.file is None:
        return {"file": None, "params": result.params}
    copy = folder / result.file.name
    try:
        shutil.copyfile(result.file, copy)
    except FileNotFoundError as error:
        # The session ended, or was ended, in this moment.
        raise GoneError("The result was removed with its study.", "Submit the study again.") from error
    return {"file": str(copy), "params": result.params}
