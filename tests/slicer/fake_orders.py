"""Orders that end as a test says, in the place of processes; what the panel asked for can be read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

__all__ = ["Order", "Orders", "connect", "offer_of", "replace_orders"]


# These are carried out at once, and are not among the orders that a test ends.
_LOCAL = ("mask", "compare")


class Order:
    """One order on its way: the test ends it."""

    def __init__(self, content: dict[str, Any], callbacks: dict[str, Any]) -> None:
        self.content, self.kept = content, {}
        self.running, self.is_cancelled = True, False
        self._callbacks = callbacks

    def cancel(self, *, at_once: bool = False) -> None:
        """What the panel asks for; `cancelled` says that it came to pass."""
        self.is_cancelled = True

    def progress(self, stage: str, fraction: float | None = None, place: int | None = None) -> None:
        from CovidBertLib.process import Progress

        self._callbacks["progress"](Progress(stage, fraction, place, None))

    def done(self, result: dict[str, Any]) -> None:
        self._end("done", result)

    def failed(self, code: str, message: str = "It failed.", hint: str = "Do this.", **kept: Any) -> None:
        from CovidBertLib.process import Failure

        self._end("failed", Failure(code, message, hint, "request-1", None, kept))

    def cancelled(self, **kept: Any) -> None:
        self.kept = kept
        self._end("cancelled")

    def _end(self, kind: str, *arguments: Any) -> None:
        self.running = False
        if self._callbacks[kind] is not None:
            self._callbacks[kind](*arguments)
        self._callbacks["ended"]()


class Orders:
    """All orders of a panel, the first one first."""

    def __init__(self) -> None:
        self.all: list[Order] = []

    def start(self, content: dict[str, Any], **callbacks: Any) -> Order:
        names = ("done", "failed", "cancelled", "progress", "ended")
        order = Order(content, {name: callbacks.get(name) for name in names})
        if content["kind"] in _LOCAL:
            order.done(_carried_out(content))
            return order
        self.all.append(order)
        return order

    @property
    def last(self) -> Order:
        return self.all[-1]

    def kinds(self) -> list[str]:
        return [order.content["kind"] for order in self.all]


def _carried_out(content: dict[str, Any]) -> dict[str, Any]:
    """What the worker answers to an order that needs no server."""
    from CovidBertLib import orders
    from CovidBertLib.orders.order import Order as Read

    folder = Path(content["folder"])
    context = SimpleNamespace(folder=lambda: folder, progress=lambda *_facts: None, cancelled=lambda: False)
    return orders.KINDS[content["kind"]].run(Read(content), context)


def replace_orders(module_widget: Any, monkeypatch: pytest.MonkeyPatch) -> Orders:
    """Put orders in the place of those that the panel on show would start."""
    made = Orders()
    monkeypatch.setattr(module_widget.panel.tasks, "start", made.start)
    return made


def connect(panel: Any, offer: dict[str, Any], url: str = "http://127.0.0.1:9") -> None:
    """Say that there is a connection, and that volumes may be sent there."""
    panel.consent.give(url)
    panel.set_server({"url": url, "token": "t", "ca_file": None, "insecure_network": False}, offer)


def offer_of(**facts: Any) -> dict[str, Any]:
    """What a server offers, for tests without one."""
    return {
        "version": "0.1.0",
        "user": "anna",
        "roles": ["reader", "annotator"],
        "models": {"covid_s1": {"type": "classification", "description": "Classifies: Slices."}},
        "strategies": ["first", "random"],
        "trainers": {},
        "research_use_only": "Research use only.",
        **facts,
    }
