"""Masks of segmentations as the panel and the worker make them together, in one process."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np

from CovidBertLib.correction import as_sent
from CovidBertLib.masks import MaskCopy
from CovidBertLib.orders import compare, make_mask
from CovidBertLib.orders.labels import MaskProblemError, assemble, read_mask
from CovidBertLib.orders.order import Order
from CovidBertLib.pieces import copy_in_pieces
from CovidBertLib.segments import LUNGS

__all__ = ["compared", "label_array", "write_copies", "written_mask"]


def write_copies(copies: Iterable[Any]) -> None:
    assert all(0 < fraction <= 1 for fraction in copy_in_pieces(list(copies)))


def label_array(segmentation: Any, volume: Any, mask: str = LUNGS) -> np.ndarray:
    """The labels (k, j, i) of a segmentation on the grid of its volume; what is wrong is said in the panel's words."""
    with TemporaryDirectory() as folder:
        copy = MaskCopy(segmentation, volume, folder, mask)
        write_copies([copy])
        try:
            return assemble(read_mask(Order(copy.order)), lambda: False)
        except MaskProblemError as problem:
            raise copy.problem(problem.facts) from None


def written_mask(segmentation: Any, volume: Any, folder: Path, mask: str = LUNGS) -> dict[str, Any]:
    """What the worker answers to the order ``mask``."""
    copy = MaskCopy(segmentation, volume, folder, mask)
    write_copies([copy])
    made = make_mask(Order({"mask": copy.order, "folder": str(folder)}), _context(folder))
    if made["problem"] is not None:
        raise copy.problem(made["problem"])
    return made


def compared(before: Any, after: Any, volume: Any, folder: Path, mask: str = LUNGS) -> dict[str, Any]:
    """What the worker answers to the order ``compare``."""
    copies = [MaskCopy(node, volume, folder, mask, name) for node, name in ((before, "before"), (after, "after"))]
    write_copies(copies)
    order = Order(
        {"before": copies[0].order, "after": copies[1].order, "as_sent": as_sent(before), "folder": str(folder)}
    )
    return compare(order, _context(folder))


def _context(folder: Path) -> Any:
    return SimpleNamespace(folder=lambda: folder, progress=lambda *_facts: None, cancelled=lambda: False)
