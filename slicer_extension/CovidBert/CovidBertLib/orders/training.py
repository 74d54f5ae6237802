"""Training on the server: its state, start and stop."""

from __future__ import annotations

from typing import Any

from ..client import ClientError, NotFoundError
from .context import Context
from .order import Order


def train_status(_order: Order, context: Context) -> dict[str, Any]:
    """Return ``status``: what the server says of its newest training, or None where there was none.

    Raises
    ------
    ClientError
        With the code ``not-offered`` if the server trains nothing.
    """
    _trainers(context)
    return {"status": context.client.training()}


def train_start(order: Order, context: Context) -> dict[str, Any]:
    """Start a training and return ``status``.

    Order: ``model``, one of the trainers of `check`, and ``params``, an object.
    """
    model = order.text("model")
    if model not in _trainers(context):
        raise _not_offered("The server does not train this model.")
    return {"status": context.client.start_training(model, order.mapping("params"))}


def train_stop(_order: Order, context: Context) -> dict[str, Any]:
    """Stop the training that runs, and return ``status``."""
    _trainers(context)
    try:
        return {"status": context.client.stop_training()}
    except NotFoundError:
        raise ClientError("No training runs.", "Ask for the state of the training.", code="not-running") from None


def _trainers(context: Context) -> dict[str, Any]:
    # MONAI Label answers alike where it has no such route and where nothing was trained yet.
    trainers = context.client.info().get("trainers")
    if not isinstance(trainers, dict) or not trainers:
        raise _not_offered("This server does not train.")
    return trainers


def _not_offered(message: str) -> ClientError:
    return ClientError(message, "Ask its administrator whether another server does.", code="not-offered")
