"""The versions of the server's models: listed, published, rolled back."""

from __future__ import annotations

from typing import Any

from .context import Context
from .order import Order


def list_weights(_order: Order, context: Context) -> dict[str, Any]:
    """Return ``models``: each with its versions, as the server lists them."""
    return {"models": context.client.weights()}


def publish_weights(order: Order, context: Context) -> dict[str, Any]:
    """Make a version the live one.

    Order: ``model``, ``version``; ``despite_gate``, whether also where the version needs a word (false where it is
    left out).
    """
    model, version = order.text("model"), order.text("version")
    return {"model": context.client.publish_weights(model, version, despite_gate=order.flag("despite_gate", False))}


def roll_back_weights(order: Order, context: Context) -> dict[str, Any]:
    """Go back to the version that was live before. Order: ``model``."""
    return {"model": context.client.roll_back_weights(order.text("model"))}
