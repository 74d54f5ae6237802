"""Uploaded studies do not stay on the server: they are closed when nobody needs them, and never under a running job."""

from __future__ import annotations

import gc
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import slicer
from fake_orders import Order, Orders, connect, offer_of, replace_orders
from panel_tools import find_panel
from result_samples import add_chest, calibrated
from slicer_fixtures import spin
from worker_process import job_server, scripted_server

from CovidBertLib import correction
from CovidBertLib.process import Tasks

URL, OTHER = "http://127.0.0.1:9", "http://127.0.0.1:8"


@pytest.fixture
def orders(module_widget: Any, monkeypatch: pytest.MonkeyPatch) -> Orders:
    return replace_orders(module_widget, monkeypatch)


@pytest.fixture
def panel(module_widget: Any, orders: Orders) -> Any:
    found = find_panel(module_widget)
    connect(found, offer_of(), URL)
    return found


@pytest.fixture
def volume(panel: Any) -> Any:
    node = add_chest("CT 1")
    panel.set_volume(node)
    return node


def answer(order: Order, session: str = "one", sha256: str = "0") -> None:
    order.done({"result": calibrated(), "files": {}, "params": {}, "session_id": session, "sha256": sha256})


def classify(panel: Any, orders: Orders, press: Any, session: str = "one") -> None:
    press(panel.section("Classify").ui.classifyButton)
    answer(orders.last, session)
    spin()


def closed(orders: Orders) -> list[tuple[str, list[str]]]:
    """Which sessions were closed at which server."""
    spin()
    found = [order.content for order in orders.all if order.content["kind"] == "close_sessions"]
    return [(order["server"]["url"], order["session_ids"]) for order in found]


def test_upload_is_kept_as_long_as_it_can_be_used_again(panel: Any, volume: Any, orders: Orders, press: Any) -> None:
    classify(panel, orders, press)
    press(panel.section("Classify").ui.classifyButton)
    assert (orders.last.content["session_id"], orders.last.content["sha256"]) == ("one", "0")
    answer(orders.last)
    assert closed(orders) == []


@pytest.mark.parametrize("reason", ["scene", "volume", "server"])
def test_upload_is_closed_where_it_is_needed_no_more(
    panel: Any, volume: Any, orders: Orders, press: Any, reason: str
) -> None:
    classify(panel, orders, press)
    if reason == "scene":
        slicer.mrmlScene.Clear(0)
    elif reason == "volume":
        slicer.mrmlScene.RemoveNode(volume)
    else:
        connect(panel, offer_of(), OTHER)
    assert closed(orders) == [(URL, ["one"])], "at the server that has it"
    said = panel.messages.text
    orders.last.failed("unreachable")
    assert panel.messages.text == said, "only the log hears of it"


def test_upload_of_a_volume_that_was_edited_is_closed(panel: Any, volume: Any, orders: Orders, press: Any) -> None:
    classify(panel, orders, press)
    classify(panel, orders, press, session="two")
    assert closed(orders) == [(URL, ["one"])]


def test_uploads_of_a_scene_are_closed_together(panel: Any, volume: Any, orders: Orders, press: Any) -> None:
    classify(panel, orders, press)
    panel.set_volume(add_chest("CT 2"))
    classify(panel, orders, press, session="two")
    slicer.mrmlScene.Clear(0)
    assert closed(orders) == [(URL, ["one", "two"])]


@pytest.mark.parametrize("reason", ["scene", "volume", "server"])
@pytest.mark.parametrize("end", ["done", "cancelled", "failed"])
def test_upload_in_use_is_closed_when_its_job_has_ended(
    panel: Any, volume: Any, orders: Orders, press: Any, reason: str, end: str
) -> None:
    classify(panel, orders, press)
    press(panel.section("Classify").ui.classifyButton)
    job = orders.last
    if reason == "scene":
        slicer.mrmlScene.Clear(0)
    elif reason == "volume":
        slicer.mrmlScene.RemoveNode(volume)
    else:
        connect(panel, offer_of(), OTHER)
    assert closed(orders) == [], "the job still needs it"
    if end == "done":
        answer(job)
    elif end == "cancelled":
        job.cancelled(session_id="one", sha256="0")
    else:
        job.failed("job-failed", session_id="one", sha256="0")
    assert closed(orders) == [(URL, ["one"])]


def test_order_that_a_closed_scene_cancelled_is_given_again(
    panel: Any, volume: Any, orders: Orders, press: Any
) -> None:
    classify(panel, orders, press)
    slicer.mrmlScene.RemoveNode(volume)
    assert closed(orders) == [(URL, ["one"])]
    orders.last.cancelled()
    assert closed(orders) == [(URL, ["one"])] * 2


def test_study_of_the_worklist_is_no_session(panel: Any, volume: Any, orders: Orders) -> None:
    correction.remember_image(volume, URL, "ct-1")
    slicer.mrmlScene.RemoveNode(volume)
    connect(panel, offer_of(), OTHER)
    assert closed(orders) == []


def test_what_is_left_at_the_end_is_closed_without_waiting(
    panel: Any, volume: Any, orders: Orders, press: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(panel.tasks, "send_off", sent.append)
    classify(panel, orders, press)
    panel.cleanup()
    assert [(order["server"]["url"], order["session_ids"]) for order in sent] == [(URL, ["one"])]


def test_last_order_is_carried_out_by_a_process_of_its_own(application: Any, wait_until: Any) -> None:
    tasks = Tasks(sys.executable)
    with job_server.running() as server:
        server.sessions["one"] = server.sessions["two"] = ("a.nrrd", b"")
        address = {"url": server.url, "token": scripted_server.TOKEN}
        tasks.send_off({"kind": "close_sessions", "server": address, "session_ids": ["one", "gone", "two"]})
        tasks.close()
        wait_until(lambda: not server.sessions, 120)


def test_finished_tasks_are_let_go(application: Any, wait_until: Any, tmp_path: Path) -> None:
    tasks = Tasks(sys.executable)
    ended: list[bool] = []
    order = {"kind": "no such kind", "server": {}, "folder": str(tmp_path)}
    made = tasks.start(order, done=print, failed=lambda _failure: None, ended=lambda: ended.append(True))
    never = tasks.start(order, done=print, failed=print, ended=lambda: ended.append(True))
    never.cancel()
    gone = [weakref.ref(made), weakref.ref(never)]
    processes: list[str] = []
    for task in (made, never):
        task._process.connect("destroyed(QObject*)", lambda *_what: processes.append("destroyed"))
    del made, never, task
    wait_until(lambda: len(ended) == 2, 120)
    wait_until(lambda: len(processes) == 2, 60)

    def are_gone() -> bool:
        gc.collect()
        return all(reference() is None for reference in gone)

    wait_until(are_gone, 60)
    tasks.close()
