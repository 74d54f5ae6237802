"""The versions of the server's models in the panel: seen, published, rolled back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_orders import Orders, connect, offer_of, replace_orders
from panel_tools import find_panel

ADMIN = ["reader", "annotator", "admin"]
TRAINERS = {name: {"description": "", "config": {}} for name in ("lungs", "covid_s1")}


def measure(value: float, lower: float | None = None, upper: float | None = None) -> dict[str, Any]:
    facts = {"measure": "mean Dice of both lungs", "patients": 6, "data": "frozen test set"}
    return {**facts, "value": value, "lower": lower, "upper": upper}


def version(name: str, state: str, passed: bool | None = True, **more: Any) -> dict[str, Any]:
    reason = "It is not worse." if passed else "On the reference studies it is worse by .080."
    gate = None if passed is None else {"passed": passed, "reason": reason, "rule": "Not worse by .005.", "extra": 1}
    facts = {"created": "2026-11-21T12:00:00+00:00", "trained_on": "12 corrected studies", "demonstration": False}
    word = None if passed in (True, None) else f"It did not pass the gate. {reason}"
    facts["needs_word"] = word
    return {"version": name, "state": state, "metrics": [measure(0.9712, 0.95, 0.98)], "gate": gate, **facts, **more}


BARE = {"measure": "Dice", "value": 0.9, "lower": None, "upper": None, "patients": None, "data": "30 studies"}
SHIPPED = version("v001", "shipped", None, metrics=[BARE], demonstration=True, trained_on="generated studies")
UNREADABLE = version("v004", "damaged", None, metrics=[], created=None, demonstration=None, trained_on="")
LUNGS = {
    "model": "lungs", "name": "default-lungs", "live": "v002", "warning": None,
    "versions": [UNREADABLE, version("v003", "candidate", False), version("v002", "live"), SHIPPED],
}  # fmt: skip
S1 = {"model": "covid_s1", "name": "default-study-network", "live": "v001", "warning": None, "versions": [
    {**SHIPPED, "state": "live"},
]}  # fmt: skip


@pytest.fixture
def orders(module_widget: Any, monkeypatch: pytest.MonkeyPatch) -> Orders:
    return replace_orders(module_widget, monkeypatch)


@pytest.fixture
def panel(module_widget: Any) -> Any:
    return find_panel(module_widget)


@pytest.fixture
def train(panel: Any, orders: Orders, press: Any) -> Any:
    section = panel.section("Train")
    section.opener.collapsed = False
    connect(panel, offer_of(trainers=TRAINERS, roles=ADMIN))
    press(section.ui.refreshButton)
    orders.last.done({"status": None})
    orders.all[0].done({"models": [LUNGS, S1]})
    return section


def rows(train: Any) -> list[list[str]]:
    table = train.ui.versionsTable
    return [[table.item(row, column).text() for column in range(5)] for row in range(table.rowCount)]


def select(train: Any, name: str) -> None:
    table = train.ui.versionsTable
    table.selectRow(next(row for row in range(table.rowCount) if table.item(row, 0).text() == name))


def test_versions_are_shown_with_state_number_and_gate(train: Any) -> None:
    assert rows(train) == [
        ["v004", "damaged", "", "–", "–"],
        ["v003", "candidate", "2026-11-21", "0.971", "not passed"],
        ["v002", "live", "2026-11-21", "0.971", "passed"],
        ["v001", "shipped", "2026-11-21", "0.900", "–"],
    ]
    assert "Live version of lungs: v002." in train.ui.versionsLabel.text


def test_details_say_what_the_gate_said_and_what_it_is(train: Any) -> None:
    assert not train.ui.versionLabel.isVisible()
    select(train, "v003")
    told = train.ui.versionLabel.text
    assert "Gate not passed: On the reference studies it is worse by .080." in told
    assert "Rule: Not worse by .005." in told
    assert "mean Dice of both lungs: 0.971 [0.950, 0.980] (frozen test set; patients: 6)" in told
    select(train, "v001")
    assert train.ui.versionLabel.text.startswith("DEMONSTRATION WEIGHTS")
    assert "Dice: 0.900 (30 studies)" in train.ui.versionLabel.text
    select(train, "v004")
    assert train.ui.versionLabel.text == "", "nothing can be read of it"


def test_another_model_has_its_own_versions(train: Any) -> None:
    train.ui.modelSelector.setCurrentIndex(1)
    assert [row[0] for row in rows(train)] == ["v001"]
    assert not train.ui.rollBackButton.isEnabled(), "there is nothing to go back to"
    train.ui.modelSelector.setCurrentIndex(0)
    assert len(rows(train)) == 4


def test_only_what_can_go_live_can_be_published(train: Any, panel: Any) -> None:
    for name, can in (("v004", False), ("v003", True), ("v002", False), ("v001", True)):
        select(train, name)
        assert train.ui.publishButton.isEnabled() is can, name
    connect(panel, offer_of(trainers=TRAINERS, roles=["reader", "annotator"]), url="http://127.0.0.1:9")
    assert not train.ui.publishButton.isEnabled()


def test_publishing_against_the_gate_says_so_and_asks(train: Any, panel: Any, orders: Orders, press: Any) -> None:
    select(train, "v003")
    press(train.ui.publishButton)
    assert "It did not pass the gate. On the reference studies it is worse" in panel.ui.questionLabel.text
    assert panel.ui.yesButton.text == "Publish in spite of that"
    press(panel.ui.noButton)
    assert orders.kinds() == ["weights", "train_status"]
    press(train.ui.publishButton)
    press(panel.ui.yesButton)
    wanted = {"kind": "weights_publish", "model": "lungs", "version": "v003", "despite_gate": True}
    assert {name: orders.last.content[name] for name in wanted} == wanted
    assert not train.ui.publishButton.isEnabled(), "one change at a time"
    orders.last.done({"model": {**LUNGS, "live": "v003"}})
    assert panel.messages.text == "v003 of lungs is live."
    assert orders.last.content["kind"] == "weights", "the server is asked what became of it"


def test_a_version_that_passed_is_published_without_force(train: Any, panel: Any, orders: Orders, press: Any) -> None:
    select(train, "v001")
    press(train.ui.publishButton)
    press(panel.ui.yesButton)
    assert (orders.last.content["version"], orders.last.content["despite_gate"]) == ("v001", False)


def test_what_passed_against_another_version_is_asked_for(train: Any, panel: Any, orders: Orders, press: Any) -> None:
    said = "default-lungs v005 was compared with v001, and v002 is live now."
    press(train.ui.refreshButton)
    asked = next(order for order in reversed(orders.all) if order.content["kind"] == "weights")
    asked.done({"models": [{**LUNGS, "versions": [version("v005", "candidate", needs_word=said), *LUNGS["versions"]]}]})
    select(train, "v005")
    press(train.ui.publishButton)
    assert said in panel.ui.questionLabel.text
    press(panel.ui.yesButton)
    assert (orders.last.content["version"], orders.last.content["despite_gate"]) == ("v005", True)


def test_rolled_back_after_asking(train: Any, panel: Any, orders: Orders, press: Any) -> None:
    press(train.ui.rollBackButton)
    assert "Go back from v002" in panel.ui.questionLabel.text
    press(panel.ui.yesButton)
    assert (orders.last.content["kind"], orders.last.content["model"]) == ("weights_roll_back", "lungs")
    orders.last.failed("conflict")
    assert panel.messages.text == "It failed."
    assert orders.last.content["kind"] == "weights"


def test_another_server_forgets_the_versions_and_the_question(
    train: Any, panel: Any, orders: Orders, press: Any
) -> None:
    press(train.ui.rollBackButton)
    connect(panel, offer_of(trainers=TRAINERS, roles=ADMIN), url="http://127.0.0.2:9")
    assert not train.ui.versionsTable.isVisible()
    press(panel.ui.yesButton)
    assert "weights_roll_back" not in orders.kinds()
    assert "nothing was done" in panel.messages.text


def test_late_answer_of_another_server_is_dropped(train: Any, panel: Any, orders: Orders, press: Any) -> None:
    press(train.ui.refreshButton)
    asked = next(order for order in reversed(orders.all) if order.content["kind"] == "weights")
    connect(panel, offer_of(trainers=TRAINERS, roles=ADMIN), url="http://127.0.0.2:9")
    asked.done({"models": [LUNGS]})
    assert not train.ui.versionsTable.isVisible()


def test_warning_of_a_damaged_version_is_shown(train: Any, orders: Orders, press: Any) -> None:
    press(train.ui.refreshButton)
    asked = next(order for order in reversed(orders.all) if order.content["kind"] == "weights")
    asked.done({"models": [{**LUNGS, "warning": "v004 is damaged; v002 is used."}]})
    assert "v004 is damaged; v002 is used." in train.ui.versionsLabel.text


def test_garbage_is_a_message_and_not_a_table(train: Any, panel: Any, orders: Orders, press: Any) -> None:
    press(train.ui.refreshButton)
    asked = next(order for order in reversed(orders.all) if order.content["kind"] == "weights")
    asked.done({"models": [{"model": "lungs", "versions": "many"}]})
    assert "cannot be read" in panel.messages.text
    assert len(rows(train)) == 4, "what was known stays on show"


def test_picture(train: Any, panel: Any, screenshot: Any, tmp_path: Path) -> None:
    select(train, "v003")
    assert screenshot(train.opener, tmp_path / "versions.png").stat().st_size > 5000
