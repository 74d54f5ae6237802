"""Who has which study: between readers, over time, when skipped, and after a restart."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from covid_bert.errors import NotFoundError
from covid_bert.server.reservations import Reservations

STUDIES = ["a", "b", "c"]
HOUR = 3600.0


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(tmp_path: Path, clock: Clock) -> Reservations:
    return Reservations(tmp_path, hours=12, clock=clock)


def first(candidates: Sequence[str], _covered: Sequence[str]) -> dict[str, str]:
    return {"id": candidates[0]}


def ask(kept: Reservations, reader: str, *, free=STUDIES, labelled=(), tag: str = "final", choose=first) -> str | None:
    found = kept.hand_out(reader, tag, free, labelled, choose)
    return None if found is None else found["id"]


def test_two_readers_get_two_studies(kept: Reservations) -> None:
    assert [ask(kept, "anna"), ask(kept, "bert"), ask(kept, "carl")] == ["a", "b", "c"]
    assert ask(kept, "dora") is None


def test_a_reservation_ends_after_its_hours(kept: Reservations, clock: Clock) -> None:
    ask(kept, "anna")
    clock.now += 12 * HOUR - 1
    assert ask(kept, "bert") == "b"
    clock.now += 1
    assert ask(kept, "carl") == "a"


def test_asking_again_is_skipping_and_what_was_skipped_comes_last(kept: Reservations) -> None:
    assert [ask(kept, "anna") for _ in range(3)] == ["a", "b", "c"]
    # All were passed over: the one that was seen longest ago comes first.
    assert [ask(kept, "anna") for _ in range(4)] == ["a", "b", "c", "a"]


def test_what_was_skipped_is_free_for_others(kept: Reservations) -> None:
    ask(kept, "anna")
    assert ask(kept, "anna") == "b"
    assert ask(kept, "bert") == "a"
    assert ask(kept, "bert") == "c", "b is in other hands"


def test_a_single_study_left_comes_again(kept: Reservations) -> None:
    assert [ask(kept, "anna", free=["a"]) for _ in range(3)] == ["a", "a", "a"]


def test_a_labelled_study_is_not_handed_out_and_not_skipped(kept: Reservations) -> None:
    ask(kept, "anna")
    assert ask(kept, "anna", free=["b", "c"], labelled=["a"]) == "b"
    # The label is taken away again: the study is as good as new.
    assert ask(kept, "anna") == "a"


def test_another_kind_of_label_is_another_line(kept: Reservations) -> None:
    assert ask(kept, "anna", tag="final") == "a"
    assert ask(kept, "bert", tag="study") == "a"
    assert ask(kept, "bert", tag="final") == "b"


def test_what_is_in_other_hands_counts_as_covered(kept: Reservations) -> None:
    seen: list[tuple[list[str], list[str]]] = []

    def choose(candidates: Sequence[str], covered: Sequence[str]) -> dict[str, str]:
        seen.append((list(candidates), list(covered)))
        return {"id": candidates[0]}

    ask(kept, "anna", labelled=["z"], choose=choose)
    ask(kept, "bert", labelled=["z"], choose=choose)
    ask(kept, "bert", labelled=["z"], choose=choose)
    assert seen == [(["a", "b", "c"], ["z"]), (["b", "c"], ["a", "z"]), (["c"], ["a", "z"])]


def test_a_restart_changes_nothing(tmp_path: Path, clock: Clock) -> None:
    before = Reservations(tmp_path, hours=12, clock=clock)
    ask(before, "anna")
    ask(before, "anna")
    before.close()
    after = Reservations(tmp_path, hours=12, clock=clock)
    assert ask(after, "bert", free=["b"]) is None
    assert ask(after, "anna") == "c"


def test_a_clock_that_was_set_back_locks_no_study_for_years(tmp_path: Path, clock: Clock) -> None:
    before = Reservations(tmp_path, hours=12, clock=clock)
    ask(before, "anna")
    clock.now -= 1000 * HOUR
    assert ask(before, "bert") == "a"


def test_a_strategy_that_fails_reserves_nothing(kept: Reservations) -> None:
    def fail(_candidates: Sequence[str], _covered: Sequence[str]) -> dict[str, str]:
        raise NotFoundError("Nothing.", "Nothing.")

    ask(kept, "anna")
    with pytest.raises(NotFoundError):
        ask(kept, "anna", choose=fail)
    assert ask(kept, "bert") == "b", "a is still anna's"


def test_a_damaged_file_is_moved_aside_and_all_studies_are_free(tmp_path: Path) -> None:
    before = Reservations(tmp_path, hours=12)
    ask(before, "anna")
    before.close()
    for path in tmp_path.glob("reservations.sqlite*"):
        path.write_bytes(b"damaged" * 1000)
    assert ask(Reservations(tmp_path, hours=12), "bert") == "a"
    assert list(tmp_path.glob("damaged-*-reservations.sqlite"))


def test_readers_who_ask_at_once_get_different_studies(kept: Reservations) -> None:
    studies = [f"s{number:02}" for number in range(16)]
    found: list[str | None] = []
    threads = [
        threading.Thread(target=lambda reader=reader: found.append(ask(kept, f"r{reader}", free=studies)))
        for reader in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, found)) == studies
