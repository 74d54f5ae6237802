"""Pausing and cancelling a computation from another thread."""

from __future__ import annotations

import threading

import pytest

from covid_bert.errors import CancelledError
from covid_bert.progress import Progress

PATIENCE = 60.0


def test_a_paused_computation_waits_until_it_is_resumed() -> None:
    progress, passed = Progress(), threading.Event()

    def compute() -> None:
        progress.continued().update("stage", 0.5)
        passed.set()

    progress.pause()
    thread = threading.Thread(target=compute)
    thread.start()
    assert not passed.wait(0.3)
    progress.resume()
    assert passed.wait(PATIENCE)
    thread.join()


@pytest.mark.parametrize("order", [("pause", "cancel"), ("cancel", "pause")])
def test_a_paused_computation_can_be_cancelled(order: tuple[str, str]) -> None:
    progress, stopped = Progress(), threading.Event()

    def compute() -> None:
        try:
            progress.update("stage", 0.5)
        except CancelledError:
            stopped.set()

    getattr(progress, order[0])()
    thread = threading.Thread(target=compute, daemon=True)
    if order[0] == "pause":
        thread.start()
    getattr(progress, order[1])()
    if order[0] == "cancel":
        thread.start()
    assert stopped.wait(PATIENCE)
