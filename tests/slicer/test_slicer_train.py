"""The server's training in the panel: what it is, who may start and stop it, its curve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import qt
from fake_orders import Orders, connect, offer_of, replace_orders
from panel_tools import dark_theme, find_panel

TRAINERS = {"lungs": {"description": "Trains the lung network", "config": {}}}
# As MONAI's StatsHandler writes them, with the time and name of the logger in front.
LINES = [
    "[2026-11-21 12:00:00,001] [77] [MainThread] [INFO] (ignite:123) - Epoch: 1/4, Iter: 1/2 -- train_loss: 0.9000 ",
    "[2026-11-21 12:00:01,001] [77] [MainThread] [INFO] (ignite:123) - Epoch: 1/4, Iter: 2/2 -- train_loss: 0.7000 ",
    "INFO - Epoch[1] Metrics -- val_mean_dice: 0.5000 val_loss: 8.1e-01 ",
    "INFO - Key metric: val_mean_dice best value: 0.5 at epoch: 1",
    "an unlike line: 3",
]


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


def status(state: str = "RUNNING", details: list[str] = LINES, **more: Any) -> dict[str, Any]:
    request = {"model": "lungs", "max_epochs": 4}
    times = {"start_ts": "2026-11-21 12:00:00"}
    return {"status": {"id": "t1", "status": state, "request": request, "details": details, **times, **more}}


def test_log_is_read_from_overlapping_answers() -> None:
    from CovidBertLib.training_log import TrainingLog

    log = TrainingLog()
    log.take(status(details=LINES[:2])["status"])
    log.take(status(details=LINES[1:])["status"])
    assert log.series == {
        "train_loss": {0.5: 0.9, 1.0: 0.7},
        "val_mean_dice": {1.0: 0.5},
        "val_loss": {1.0: 0.81},
    }
    assert log.epochs == 4
    log.take({"id": "t2", "status": "SUBMITTED"})
    assert (log.series, log.epochs) == ({}, None)
    log.take(None)
    log.take({"id": 3, "details": "no list"})
    assert log.series == {}


def test_values_that_cannot_be_drawn_are_left_out() -> None:
    from CovidBertLib.training_log import TrainingLog

    log = TrainingLog()
    lines = [f"Epoch[1] Metrics -- metric_{number}: 1.0" for number in range(50)]
    log.take(status(details=[*lines, "Epoch[2] Metrics -- metric_0: nan metric_1: 9e999", 5])["status"])  # type: ignore[list-item]
    assert len(log.series) == 8
    assert log.series["metric_0"] == log.series["metric_1"] == {1.0: 1.0}


def test_server_that_does_not_train(panel: Any, train: Any, orders: Any) -> None:
    assert train.ui.stateLabel.text == "To see the server's training, connect to it."
    connect(panel, offer_of())
    assert "does not train" in train.ui.stateLabel.text
    assert not train.ui.startButton.isVisible()
    assert "no earlier versions" in train.ui.versionsLabel.text
    train.opener.collapsed = True
    train.opener.collapsed = False
    assert orders.all == []


def test_annotator_watches_only(panel: Any, train: Any, orders: Any, press: Any) -> None:
    connect(panel, offer_of(trainers=TRAINERS))
    press(train.ui.refreshButton)
    orders.last.done(status())
    assert "runs since 2026-11-21 12:00:00" in train.ui.stateLabel.text
    assert "role admin" in train.ui.stateLabel.text
    assert not train.ui.startButton.isEnabled()
    assert not train.ui.stopButton.isEnabled()
    assert train.ui.curveLabel.isVisible()
    assert train.ui.linesText.plainText.endswith("an unlike line: 3")


def test_admin_starts_watches_and_stops(panel: Any, train: Any, orders: Any, press: Any) -> None:
    connect(panel, offer_of(trainers=TRAINERS, roles=["reader", "annotator", "admin"]))
    press(train.ui.refreshButton)
    orders.last.done({"status": None})
    assert "Nothing has been trained" in train.ui.stateLabel.text
    press(train.ui.startButton)
    press(panel.ui.noButton)
    assert orders.kinds() == ["train_status"], "a start is asked about first"
    press(train.ui.startButton)
    press(panel.ui.yesButton)
    assert orders.last.content["kind"] == "train_start"
    assert (orders.last.content["model"], orders.last.content["params"]) == ("lungs", {})
    assert not train.ui.startButton.isEnabled(), "it is not started twice"
    orders.last.done(status("SUBMITTED", []))
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
    orders.last.done(status("ERROR", ["out of memory"], end_ts="2026-11-21 13:00:00"))
    assert "failed, 2026-11-21 13:00:00" in train.ui.stateLabel.text
    assert not train._timer.isActive()
    assert train.ui.startButton.isEnabled()


def test_what_else_the_server_says_is_shown(panel: Any, train: Any, orders: Any, press: Any) -> None:
    connect(panel, offer_of(trainers=TRAINERS))
    press(train.ui.refreshButton)
    orders.last.done(status("DONE", gate={"passed": False, "dice": 0.91234}, best_metric=0.5))
    assert train.ui.factsLabel.text.splitlines() == ["gate passed: False", "gate dice: 0.91234", "best metric: 0.5"]


def test_nothing_is_asked_when_nobody_looks(
    module_widget: Any, panel: Any, train: Any, orders: Any, press: Any
) -> None:
    connect(panel, offer_of(trainers=TRAINERS))
    press(train.ui.refreshButton)
    orders.last.done(status())
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
    orders.last.done(status())
    train.ask()
    orders.last.failed("unreachable")
    assert not train._timer.isActive()
    assert train.ui.refreshButton.isEnabled()


def test_pictures(
    application: Any, panel: Any, train: Any, orders: Any, press: Any, screenshot: Any, wait_until: Any, tmp_path: Path
) -> None:
    connect(panel, offer_of(trainers=TRAINERS, roles=["reader", "annotator", "admin"]))
    press(train.ui.refreshButton)
    lines = [
        line
        for epoch in range(1, 9)
        for line in (
            f"Epoch: {epoch}/12, Iter: 1/2 -- train_loss: {0.8 / epoch + 0.05:.4f} ",
            f"Epoch: {epoch}/12, Iter: 2/2 -- train_loss: {0.75 / epoch + 0.05:.4f} ",
            f"Epoch[{epoch}] Metrics -- val_mean_dice: {0.95 - 0.6 / epoch:.4f} ",
        )
    ]
    orders.last.done(status(details=lines, best_metric=0.875))
    train.ui.linesBox.collapsed = False
    assert screenshot(train.opener, tmp_path / "train.png").stat().st_size > 5000
    before = application.palette()
    application.setPalette(dark_theme())
    wait_until(lambda: train.widget.palette.color(qt.QPalette.Window).lightness() < 100)
    panel.refresh()
    assert screenshot(train.opener, tmp_path / "train-dark.png").stat().st_size > 5000
    application.setPalette(before)
