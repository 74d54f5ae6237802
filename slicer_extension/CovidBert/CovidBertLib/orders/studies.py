"""The server's studies: which there are, which is next, and their files."""

from __future__ import annotations

from typing import Any

from ..client import InvalidRequestError
from .context import Context
from .order import Order

_STUDY_LABEL = "study"


def list_studies(_order: Order, context: Context) -> dict[str, Any]:
    """List the studies and who labelled them.

    Returns
    -------
    dict
        ``studies``: for each its ``id``, ``suffix`` (``""`` for a folder of files), ``labels`` (for ``final`` and
        ``original``: ``author``, ``time`` in seconds since 1970, ``version``) and ``study_label`` (the same of what
        was said about the study, or None). ``total`` and ``labelled`` count all and those with a final mask.
    """
    found: list[dict[str, Any]] = []
    for study in context.client.studies():
        marks = {
            tag: {"author": mark.author, "time": mark.time, "version": mark.version}
            for tag, mark in study.labels.items()
        }
        spoken = marks.pop(_STUDY_LABEL, None)
        found.append({"id": study.id, "suffix": study.suffix, "labels": marks, "study_label": spoken})
    return {"studies": found, "total": len(found), "labelled": sum("final" in study["labels"] for study in found)}


def next_study(order: Order, context: Context) -> dict[str, Any]:
    """Ask which study is next, and fetch it.

    Order: ``strategy``; ``fetch``, whether its file is wanted (true where it is left out).

    Returns
    -------
    dict
        ``image`` (None when all are labelled or reserved), ``note`` (of the server, on its choice), ``strategy``, and
        ``file``: its path, None where it was not wanted or the study is not one file on the server.
    """
    strategy = order.text("strategy")
    found = context.client.next_study(strategy)
    image = None if found is None else found.id
    file = None
    if image is not None and order.flag("fetch", True):
        try:
            file = _fetched(image, context)
        except InvalidRequestError as error:
            if error.code != "study-in-parts":
                raise
    note = "" if found is None else found.note
    return {"image": image, "note": note, "file": file, "strategy": strategy}


def fetch(order: Order, context: Context) -> dict[str, Any]:
    """Fetch a study's file and return its path as ``file``. Order: ``image``."""
    image = order.text("image")
    return {"image": image, "file": _fetched(image, context)}


def _fetched(image: str, context: Context) -> str:
    on_progress = context.stage("downloading")
    path = context.client.fetch_study(image, context.folder(), on_progress=on_progress, cancelled=context.cancelled)
    return str(path)
