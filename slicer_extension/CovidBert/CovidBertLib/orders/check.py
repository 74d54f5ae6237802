"""Whether a server can be used, and what it offers."""

from __future__ import annotations

from typing import Any

from .context import Context
from .order import Order


def check(_order: Order, context: Context) -> dict[str, Any]:
    """Ask a server what it is, whether it is ready, who the token belongs to and what there is.

    Returns
    -------
    dict
        ``version``, ``ready``, ``reason`` and ``hint`` (why it is not), ``user``, ``roles``, ``models``,
        ``strategies`` (names), ``trainers`` and ``research_use_only``.
    """
    context.progress("connecting")
    version = context.client.version()
    readiness = context.client.readiness()
    # The token is asked about first: it is what users mistype.
    user = context.client.user()
    info = context.client.info()
    models, strategies, trainers = (_objects(info, name) for name in ("models", "strategies", "trainers"))
    notice = info.get("research_use_only")
    return {
        "version": version,
        "ready": readiness.ready,
        "reason": readiness.reason,
        "hint": readiness.hint,
        "user": user.name,
        "roles": list(user.roles),
        "models": models,
        "strategies": list(strategies),
        "trainers": trainers,
        "research_use_only": notice if isinstance(notice, str) else "",
    }


def _objects(info: dict[str, Any], name: str) -> dict[str, Any]:
    value = info.get(name)
    return value if isinstance(value, dict) else {}
