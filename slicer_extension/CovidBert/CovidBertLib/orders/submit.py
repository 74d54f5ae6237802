"""What a reader gives back to the server: a corrected mask, and what he says about the study."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..client import (
    ClientError,
    ConflictError,
    ConnectionLostError,
    LabelVersion,
    StudyLabel,
    TimedOutError,
)
from ..client.transfers import local_file
from .context import Context
from .order import Order
from .packing import repack
from .volumes import content_hash, pack, read_volume

_TAG = "final"
_PIECE_BYTES = 2**20


def submit(order: Order, context: Context) -> dict[str, Any]:
    """Save a mask as the newest version, and what is said about the study.

    Order: ``image``, or null for a study that the server does not have yet: then ``volume`` (see `read_volume`) is
    added under a name made of its content. ``mask``: path of a .nrrd file. ``tag`` (``final`` where it is left out).
    ``study_label``: ``study_class``, ``certainty`` and ``comment``, or null.

    Returns
    -------
    dict
        ``image``; ``version`` and ``author`` of the mask, None where the server saved it and then did not say;
        ``study_label_version`` or None.

    Raises
    ------
    ClientError
        In ``kept``, ``image`` tells that the study was added, ``version`` that the mask was saved.
    """
    tag = order.optional_text("tag") or _TAG
    label = _study_label(order)
    mask = context.own_file("label.nrrd")
    try:
        image = order.optional_text("image") or _add(order.object("volume"), context)
        context.kept = {"image": image}
        context.progress("compressing")
        repack(order.path("mask"), mask, context.cancelled)
        saved = _save(image, mask, tag, context)
    finally:
        context.remove_own_files()
    context.kept["version"] = None if saved is None else saved.number
    return {
        "image": image,
        "version": context.kept["version"],
        "author": None if saved is None else saved.author,
        "study_label_version": None if label is None else _say(image, label, context),
    }


def read_study_label(order: Order, context: Context) -> dict[str, Any]:
    """Return ``study_label``: the newest of a study, with ``version``, ``author`` and ``created``, or None.

    Order: ``image``.
    """
    found = context.client.study_label(order.text("image"))
    if found is None:
        return {"study_label": None}
    label, version = found
    facts = {"version": version.number, "author": version.author, "created": version.created}
    return {"study_label": {**asdict(label), **facts}}


def save_study_label(order: Order, context: Context) -> dict[str, Any]:
    """Save what is said about a study. Order: ``image`` and ``study_label``; returns ``version`` and ``author``."""
    label = _read_label(order.object("study_label"))
    version = context.client.save_study_label(order.text("image"), label)
    return {"version": version.number, "author": version.author}


def versions(order: Order, context: Context) -> dict[str, Any]:
    """Return ``versions`` of a label, the first one first: ``number``, ``author``, ``created``, ``removed``.

    Order: ``image``; ``tag`` (``final`` where it is left out).
    """
    found = context.client.label_versions(order.text("image"), order.optional_text("tag") or _TAG)
    names = ("number", "author", "created", "removed")
    return {"versions": [{name: getattr(version, name) for name in names} for version in found]}


def _study_label(order: Order) -> StudyLabel | None:
    given = order.optional_object("study_label")
    return None if given is None else _read_label(given)


def _read_label(given: Order) -> StudyLabel:
    return StudyLabel(given.text("study_class"), given.text("certainty"), given.optional_text("comment") or "")


def _add(given: Order, context: Context) -> str:
    volume = read_volume(given)
    sha256 = content_hash(volume, context.stage("reading"), context.cancelled)
    # By its content: nobody is named, and who sends the same volume again finds it under the same name.
    image = f"ct-{sha256[:32]}"
    path = context.own_file("study.nrrd")
    pack(volume, path, context.stage("compressing"), context.cancelled)
    try:
        return context.client.add_study(
            path, image, on_progress=context.stage("uploading"), cancelled=context.cancelled
        )
    except ConflictError:
        # The same voxels, compressed by another version of zlib.
        return image


def _save(image: str, mask: Path, tag: str, context: Context) -> LabelVersion | None:
    """Save the mask and return its version; None if it is saved, but the server no longer answers."""
    sha256 = _sha256_of(mask)
    lost: ClientError | None = None
    try:
        context.client.save_label(image, mask, tag, on_progress=context.stage("saving"), cancelled=context.cancelled)
    except (ConnectionLostError, TimedOutError) as error:
        # It may have arrived. It is not sent twice; the server is asked.
        lost = error
    try:
        saved = [version for version in context.client.label_versions(image, tag) if version.sha256 == sha256]
    except ClientError:
        saved = []
    if lost is not None and not saved:
        raise lost
    return saved[-1] if saved else None


def _say(image: str, label: StudyLabel, context: Context) -> int:
    try:
        return context.client.save_study_label(image, label).number
    except ClientError as error:
        error.message = f"The mask was saved, but not what you say about the study. {error.message}"
        raise


def _sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with local_file("read"), path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()
