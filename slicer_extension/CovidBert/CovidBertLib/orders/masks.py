"""Masks that are made and compared beside the window, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..client.transfers import local_file
from .context import Context
from .order import Order
from .packing import create

_FILE = "label.corrected.nrrd"
_TO_LPS = (-1.0, -1.0, 1.0)


def make_mask(order: Order, context: Context) -> dict[str, Any]:
    """Check a segmentation and write it as a mask on the grid of its volume.

    Order: ``mask`` (see `labels.read_mask`).

    Returns
    -------
    dict
        ``problem``: None, or what `labels.MaskProblemError` says. ``file``: path of the mask, NRRD, not compressed, or
        None where there is a problem. ``counts``: voxels of the labels 1 and 2.
    """
    from .labels import MaskProblemError, assemble, read_mask

    parts = read_mask(order.object("mask"))
    context.progress("checking")
    try:
        labels = assemble(parts, context.cancelled)
    except MaskProblemError as problem:
        return {"problem": problem.facts, "file": None, "counts": None}
    path = context.folder() / _FILE
    context.progress("saving")
    _write_nrrd(labels, parts, path)
    return {"problem": None, "file": str(path), "counts": [int((labels == label).sum()) for label in (1, 2)]}


def compare(order: Order, context: Context) -> dict[str, Any]:
    """Compare two segmentations of one volume.

    Order: ``before`` and ``after`` (see `labels.read_mask`); ``as_sent``, `label_arrays.checksum` of the mask that
    ``before`` was when the server sent it, or nothing.

    Returns
    -------
    dict
        ``problem``: None, or what `labels.MaskProblemError` says, and ``of``: ``before`` or ``after``. Without a
        problem also what `surfaces.compare_labels` finds, and ``is_as_sent``: whether ``before`` is still that mask.
    """
    from ..label_arrays import checksum
    from .labels import MaskProblemError, assemble, read_mask
    from .surfaces import compare_labels

    arrays = []
    parts = None
    for name in ("before", "after"):
        context.progress("checking")
        parts = read_mask(order.object(name))
        try:
            arrays.append(assemble(parts, context.cancelled))
        except MaskProblemError as problem:
            return {"problem": problem.facts, "of": name}
    context.progress("comparing")
    sent = order.optional_text("as_sent")
    found = compare_labels(*arrays, parts.matrix, context.cancelled)
    return {"problem": None, "is_as_sent": sent is None or sent == checksum(arrays[0]), **found}


def _write_nrrd(labels: Any, parts: Any, path: Path) -> None:
    affine = parts.matrix
    vectors = [
        f"({','.join(repr(float(sign * affine[row, column])) for row, sign in enumerate(_TO_LPS))})"
        for column in range(4)
    ]
    header = [
        "NRRD0004",
        "type: uint8",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(str(size) for size in parts.sizes)}",
        f"space directions: {' '.join(vectors[:3])}",
        "kinds: domain domain domain",
        "encoding: raw",
        f"space origin: {vectors[3]}",
    ]
    with create(path) as file, local_file("write"):
        file.write(("\n".join(header) + "\n\n").encode("ascii"))
        for slice_ in labels:
            rest = memoryview(slice_).cast("B")
            while rest:
                rest = rest[file.write(rest) :]
