"""What the worker can be told to do; each kind of order is described where it is carried out.

Everything here works from Python 3.9 on, and needs nothing but the standard library and the client beside it; only the
orders ``mask`` and ``compare`` load NumPy and VTK, which Slicer's Python has.
"""

from __future__ import annotations

from .check import check
from .classify import classify, close_sessions
from .context import Context, OrderKind
from .masks import compare, make_mask
from .order import Order, OrderError
from .studies import fetch, list_studies, next_study
from .submit import read_study_label, save_study_label, submit, versions
from .training import train_start, train_status, train_stop
from .weights import list_weights, publish_weights, roll_back_weights

KINDS = {
    "check": OrderKind(check, is_test=True),
    "classify": OrderKind(classify),
    "close_sessions": OrderKind(close_sessions),
    "studies": OrderKind(list_studies),
    "next": OrderKind(next_study),
    "fetch": OrderKind(fetch),
    "submit": OrderKind(submit, changes=True),
    "study_label_get": OrderKind(read_study_label),
    "study_label_put": OrderKind(save_study_label, changes=True),
    "mask": OrderKind(make_mask, is_local=True),
    "compare": OrderKind(compare, is_local=True),
    "versions": OrderKind(versions),
    "train_status": OrderKind(train_status),
    "train_start": OrderKind(train_start, changes=True),
    "train_stop": OrderKind(train_stop, changes=True),
    "weights": OrderKind(list_weights),
    "weights_publish": OrderKind(publish_weights, changes=True),
    "weights_roll_back": OrderKind(roll_back_weights, changes=True),
}

__all__ = ["KINDS", "Context", "Order", "OrderKind", "find_kind"]


def find_kind(order: Order) -> OrderKind:
    """Return the kind of an order.

    Raises
    ------
    OrderError
        If there is no such kind.
    """
    kind = KINDS.get(order.text("kind"))
    if kind is None:
        raise OrderError("There is no such kind of order.", "Report this to who maintains the extension.")
    return kind
