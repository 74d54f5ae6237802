"""The server's training in the panel: what it is, who may start and stop it, its curve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import qt
from fake_orders import Orders, connect, offer_of, replace_orders
from panel_tools import dark_theme, find_panel

TRAINERS = {"lungs": {"description": "Trains the lung network", "config": {}}}
ADMIN = ["reader", "annotator", "admin"]
LINES = ["Reading 12 studies", "Epoch[1] Metrics -- dice: 0.5000"]


@pytest.fixture
def orders(module_widget: Any, monkeypatch: pytest.MonkeyPatch) -> Orders:
    return replace_orders(module_widget, monkeypatch)


@pytest.fixture
def panel(module_widget: Any) -> Any:
    return find_panel(module_widget)


@pytest.fixture
def train(panel: Any) -> Any:
    section = panel.section("Train")
    section.opener.collapsed = False
    return section


def curve(epochs: int) -> list[dict[str, Any]]:
    return [
        {"epoch": epoch, "loss": 0.8 / epoch + 0.05, "validation": {"mean Dice": 0.95 - 0.6 / epoch}}
        for epoch in range(1, epochs + 1)
    ]


def status(state: str = "RUNNING", **more: Any) -> dict[str, Any]:
    facts = {"stage": "training", "epoch": 2, "epochs": 4, "fraction": 0.5, "seconds_left": 240, "curve": curve(2)}
    times = {"start_ts": "2026-11-21 12:00:00"}
    request = {"model": "lungs"}
    return {"status": {"id": "t1", "status": state, "request": request, "details": LINES, **times, **facts, **more}}


def hear(orders: Orders, kind: str, answer: dict[str, Any]) -> None:
    """Answer the newest order of a kind."""
    next(order for order in reversed(orders.all) if order.content["kind"] == kind).done(answer)


def test_state_is_read_from_what_a_server_sends() -> None:
    from CovidBertLib.training_state import TrainingState

    state = TrainingState.read(status(left_out=[{"identifier": "a", "reason": "It is empty."}])["status"])
    assert state is not None
    assert state.is_running
    assert (state.model, state.epoch, state.epochs, state.fraction, state.seconds_left) == ("lungs", 2, 4, 0.5, 240.0)
    assert state.series == {
        "loss": {1.0: pytest.approx(0.85), 2.0: pytest.approx(0.45)},
        "mean Dice": {1.0: pytest.approx(0.35), 2.0: pytest.approx(0.65)},
    }
    assert state.left_out == (("a", "It is empty."),)
    assert TrainingState.read(None) is None


def test_garbage_in_an_answer_is_left_out() -> None:
    from CovidBertLib.training_state import TrainingState

    state = TrainingState.read(
        {
            "status": 3, "request": [], "details": [5, "a"], "epoch": True, "epochs": -1, "fraction": "much",
            "seconds_left": float("nan"), "result": "v2", "error": None, "left_out": [7],
            "curve": [{"epoch": 1, "loss": 1e400, "validation": {f"m{number}": 1.0 for number in range(50)}}, 4, {}],
        }
    )  # fmt: skip
    assert state is not None
    assert (state.status, state.model, state.lines, state.epoch, state.epochs) == ("", "", ("a",), None, None)
    assert (state.fraction, state.seconds_left, state.outcome, state.left_out) == (None, None, None, (("", ""),))
    assert len(state.series) == 8
    assert "loss" not in state.series


def test_server_that_does_not_train(panel: Any, train: Any, orders: Any) -> None:
    assert train.ui.stateLabel.text == "To see the server's training, connect to it."
    assert not train.ui.versionsBox.isVisible()
    connect(panel, offer_of())
    assert "does not train" in train.ui.stateLabel.text
    assert not train.ui.startButton.isVisible()
    assert train.ui.versionsBox.isVisible()
    train.opener.collapsed = True
    train.opener.collapsed = False
    assert orders.kinds() == ["weights"], "it has versions all the same"


def test_annotator_watches_only(panel: Any, train: Any, orders: Any, press: Any) -> None:
    connect(panel, offer_of(trainers=TRAINERS))
    press(train.ui.refreshButton)
    hear(orders, "train_status", status())
    assert "runs since 2026-11-21 12:00:00" in train.ui.stateLabel.text
    assert "role admin" in train.ui.stateLabel.text
    assert not train.ui.startButton.isEnabled()
    assert not train.ui.stopButton.isEnabled()
    assert train.ui.curveLabel.isVisible()
    assert train.ui.progressBar.isVisible()
    assert train.ui.progressBar.value == 50
    assert "epoch 2 of 4" in train.ui.progressBar.text
    assert "about 4 min left" in train.ui.progressBar.text
    assert train.ui.linesText.plainText.endswith("dice: 0.5000")


def test_admin_starts_watches_and_stops(panel: Any, train: Any, orders: Any, press: Any) -> None:
    connect(panel, offer_of(trainers=TRAINERS, roles=ADMIN))
    press(train.ui.refreshButton)
    assert orders.kinds() == ["weights", "train_status"]
    hear(orders, "train_status", {"status": None})
    assert "Nothing has been trained" in train.ui.stateLabel.text
    press(train.ui.startButton)
    press(panel.ui.noButton)
    assert "train_start" not in orders.kinds(), "a start is asked about first"
    train.ui.publishBox.checked = False
    press(train.ui.startButton)
    press(panel.ui.yesButton)
    assert orders.last.content["kind"] == "train_start"
    assert (orders.last.content["model"], orders.last.content["params"]) == ("lungs", {"publish": False})
    assert not train.ui.startButton.isEnabled(), "it is not started twice"
    orders.last.done(status("SUBMITTED"))
    assert orders.last.content["kind"] == "train_status"
    orders.last.done(status())
    assert train._timer.isActive()
    count = len(orders.all)
    train._timer.timeout()
    train._timer.timeout()
    assert len(orders.all) == count + 1, "the next question waits for the answer"
    orders.last.done(status())
    press(train.ui.stopButton)
    press(panel.ui.yesButton)
    assert orders.last.content["kind"] == "train_stop"
    orders.last.failed("not-running")
    assert panel.messages.text == "It failed."
    error = {"code": "out-of-memory", "message": "There is too little memory.", "hint": "Free some."}
    orders.last.done(status("ERROR", error=error, end_ts="2026-11-21 13:00:00"))
    assert "failed, 2026-11-21 13:00:00. There is too little memory. Free some." in train.ui.stateLabel.text
    assert not train._timer.isActive()
    assert not train.ui.progressBar.isVisible()
    assert train.ui.startButton.isEnabled()


@pytest.mark.parametrize(
    ("published", "passed", "words"),
    [
        (True, True, "Version v002 passed the gate and is live. Not worse."),
        (False, True, "Version v002 passed the gate and can be published. Not worse."),
        (False, False, "Version v002 did not pass the gate and stays a candidate; nothing has changed. Not worse."),
    ],
)
def test_what_became_of_it_is_said(
    panel: Any, train: Any, orders: Any, press: Any, published: bool, passed: bool, words: str
) -> None:
    connect(panel, offer_of(trainers=TRAINERS))
    press(train.ui.refreshButton)
    result = {"version": "v002", "published": published, "gate": {"passed": passed, "reason": "Not worse."}}
    hear(orders, "train_status", status("DONE", result=result, end_ts="2026-11-21 13:00:00"))
    assert train.ui.stateLabel.text.startswith(f"The training of lungs ended well, 2026-11-21 13:00:00. {words}")


def test_end_of_a_training_asks_for_the_versions(panel: Any, train: Any, orders: Any, press: Any) -> None:
    connect(panel, offer_of(trainers=TRAINERS))
    press(train.ui.refreshButton)
    hear(orders, "weights", {"models": []})
    hear(orders, "train_status", status())
    assert orders.kinds().count("weights") == 1
    train._timer.timeout()
    orders.last.done(status("DONE"))
    assert orders.kinds().count("weights") == 2


def test_studies_that_could_not_be_used_are_named(panel: Any, train: Any, orders: Any, press: Any) -> None:
    connect(panel, offer_of(trainers=TRAINERS))
    press(train.ui.refreshButton)
    left_out = [{"identifier": f"case-{number}", "reason": "Its mask is empty."} for number in range(7)]
    hear(orders, "train_status", status("DONE", left_out=left_out))
    lines = train.ui.leftOutLabel.text.splitlines()
    assert lines[0] == "Labelled studies that could not be used: 7"
    assert lines[1] == "case-0: Its mask is empty."
    assert len(lines) == 6


def test_nothing_is_asked_when_nobody_looks(
    module_widget: Any, panel: Any, train: Any, orders: Any, press: Any
) -> None:
    connect(panel, offer_of(trainers=TRAINERS))
    press(train.ui.refreshButton)
    hear(orders, "weights", {"models": []})
    hear(orders, "train_status", status())
    train.opener.collapsed = True
    assert not train._timer.isActive()
    train.opener.collapsed = False
    orders.last.done(status())
    module_widget.exit()
    assert not train._timer.isActive()
    module_widget.enter()
    orders.last.done(status())
    assert train._timer.isActive()
    panel.set_server(None)
    assert not train._timer.isActive()


def test_lost_connection_ends_the_questions(panel: Any, train: Any, orders: Any, press: Any) -> None:
    connect(panel, offer_of(trainers=TRAINERS))
    press(train.ui.refreshButton)
    hear(orders, "train_status", status())
    train._poll()
    orders.last.failed("unreachable")
    assert not train._timer.isActive()
    assert train.ui.refreshButton.isEnabled()


def test_pictures(
    application: Any, panel: Any, train: Any, orders: Any, press: Any, screenshot: Any, wait_until: Any, tmp_path: Path
) -> None:
    connect(panel, offer_of(trainers=TRAINERS, roles=ADMIN))
    press(train.ui.refreshButton)
    hear(orders, "weights", {"models": []})
    hear(orders, "train_status", status(curve=curve(8), epoch=8, epochs=12, fraction=0.66))
    assert screenshot(train.opener, tmp_path / "train.png").stat().st_size > 5000
    before = application.palette()
    application.setPalette(dark_theme())
    wait_until(lambda: train.widget.palette.color(qt.QPalette.Window).lightness() < 100)
    panel.refresh()
    assert screenshot(train.opener, tmp_path / "train-dark.png").stat().st_size > 5000
    application.setPalette(before)
