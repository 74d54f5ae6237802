"""One study computed on the server: uploaded once, followed, fetched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..client import ClientError, GoneError, InvalidAnswerError, Job, JobResult, NotFoundError
from .context import Context
from .order import Order, OrderError
from .volumes import RawVolume, content_hash, pack, read_volume

# The names under which files are written here; what a server calls them never becomes a path.
_FILES = ("lungs", "lesions", "location")
_KIND = ".nrrd"
_POLL_SECONDS = 0.5


def classify(order: Order, context: Context) -> dict[str, Any]:
    """Compute a model on a volume.

    Order: ``volume`` (see `read_volume`); ``model``; ``params``; ``wants``, which of the files ``lungs``, ``lesions``
    and ``location`` are wanted, or null for what the model gives by itself; ``session_id`` and ``sha256`` of an
    earlier upload: if the content is still the same, it is not uploaded again.

    Returns
    -------
    dict
        ``result``: the study's result, None where the model gives none. ``params``: what else the model says.
        ``files``: paths by name. ``session_id`` and ``sha256`` for the next time. ``reused_upload``.
    """
    volume = read_volume(order.object("volume"))
    wants = order.texts("wants")
    if wants is not None and not set(wants) <= set(_FILES):
        raise OrderError("The order wants a file that no model gives.", "Report this to who maintains the extension.")
    sha256 = content_hash(volume, context.stage("reading"), context.cancelled)
    job = None
    if order.optional_text("sha256") == sha256 and order.optional_text("session_id"):
        job = _start_again(order, wants, sha256, context)
    reused = job is not None
    if job is None:
        _upload(volume, sha256, context)
        context.progress("waiting")
        job = _start(order, wants, context)
    job = context.client.wait(job, lambda seen: _tell(seen, context), context.cancelled, poll_seconds=_POLL_SECONDS)
    result = context.client.result(job)
    files = _download(job, result, wants, context)
    params = dict(result.params)
    study = params.pop("result", None)
    if study is not None and not isinstance(study, dict):
        raise InvalidAnswerError("The server's answer holds no result.", "Tell its administrator.")
    return {"result": study, "params": params, "files": files, **context.kept, "reused_upload": reused}


def close_sessions(order: Order, context: Context) -> dict[str, Any]:
    """End the sessions of uploads, each whatever becomes of the others. Order: ``session_ids``.

    Raises
    ------
    ClientError
        The first that came up.
    """
    failures = []
    for session_id in order.texts("session_ids") or []:
        try:
            context.client.close_session(session_id)
        except ClientError as error:
            failures.append(error)
    if failures:
        raise failures[0]
    return {}


def _start_again(order: Order, wants: list[str] | None, sha256: str, context: Context) -> Job | None:
    """Start the job on an earlier upload; None where the server no longer has it."""
    context.kept = {"session_id": order.text("session_id"), "sha256": sha256}
    try:
        return _start(order, wants, context)
    except (GoneError, NotFoundError):
        context.kept = {}
        return None


def _start(order: Order, wants: list[str] | None, context: Context) -> Job:
    params = {"result_extension": _KIND, **order.mapping("params")}
    if wants is not None:
        params["reply_image"] = "all" if len(wants) > 1 else wants[0] if wants else "none"
    return context.client.submit(order.text("model"), session_id=context.kept["session_id"], params=params)


def _upload(volume: RawVolume, sha256: str, context: Context) -> None:
    path = context.own_file(f"upload{_KIND}")
    try:
        pack(volume, path, context.stage("compressing"), context.cancelled)
        session_id = context.client.upload(path, on_progress=context.stage("uploading"), cancelled=context.cancelled)
    finally:
        context.remove_own_files()
    context.kept = {"session_id": session_id, "sha256": sha256}


def _tell(job: Job, context: Context) -> None:
    if job.state == "queued":
        context.progress("waiting", None, job.place, job.seconds_left)
    elif not job.is_finished:
        context.progress(job.stage or "computing", job.fraction, None, job.seconds_left)


def _download(job: Job, result: JobResult, wants: list[str] | None, context: Context) -> dict[str, str]:
    names = [name for name in _FILES if name in result.files and (wants is None or name in wants)]
    files = {}
    for number, name in enumerate(names):
        path = context.client.download(
            job,
            context.folder() / f"{name}{_KIND}",
            name=name if len(result.files) > 1 else None,
            on_progress=_part(number, len(names), context),
            cancelled=context.cancelled,
        )
        files[name] = str(path)
    return files


def _part(number: int, count: int, context: Context) -> Callable[[float], None]:
    """What takes the finished fraction of one of several files."""
    context.progress("downloading", number / count)
    return lambda fraction: context.progress("downloading", (number + fraction) / count)
