"""The queue: every step, in order and out of order, and after a kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from covid_bert.errors import ConflictError, InternalError, MissingSlicesError, NotChestError, NotFoundError
from covid_bert.router.queue import TRANSFER_CUT, Queue
from covid_bert.router.queue_list import State

KEY, OTHER = "a" * 32, "b" * 32
QUIET, PATIENCE = 10.0, 100.0


@pytest.fixture
def queue(tmp_path: Path):
    queue = Queue(tmp_path)
    yield queue
    queue.close()


def add(queue: Queue, count: int, *, key: str = KEY, now: float = 0.0, start: int = 0, transfer: bool = False) -> None:
    for index in range(start, start + count):
        assert queue.add(key, f"{index}.dcm", "receiver", now, transfer=transfer)


def state(queue: Queue, key: str = KEY) -> State:
    return queue.find(key).state


def settle(queue: Queue, now: float) -> None:
    queue.settle(now, quiet=QUIET, patience=PATIENCE)


def test_a_study_goes_all_the_way_once(queue: Queue) -> None:
    add(queue, 3)
    settle(queue, QUIET - 1)
    assert state(queue) is State.RECEIVING
    settle(queue, QUIET)
    assert state(queue) is State.READY
    claimed = queue.claim(11)
    assert claimed is not None
    assert (claimed.key, claimed.files, claimed.attempts, claimed.answer) == (KEY, 3, 1, None)
    assert queue.claim(11) is None
    assert queue.classified(KEY, "answer", 12)
    assert queue.sendable(12).key == KEY
    queue.sent(KEY, 13)
    study = queue.find(KEY)
    assert (study.state, study.done, study.answer, study.ended) == (State.DONE, 3, "answer", 13)
    assert queue.sendable(14) is None
    settle(queue, 1000)
    assert queue.claim(1000) is None


def test_what_is_sent_again_is_not_done_again(queue: Queue) -> None:
    add(queue, 2)
    settle(queue, QUIET)
    queue.claim(10)
    queue.classified(KEY, "answer", 11)
    queue.sent(KEY, 12)
    assert not queue.add(KEY, "1.dcm", "receiver", 20, transfer=True)
    settle(queue, 1000)
    assert state(queue) is State.DONE
    assert queue.find(KEY).files == 2


def test_a_new_file_of_a_done_study_makes_a_new_result(queue: Queue) -> None:
    add(queue, 2)
    settle(queue, QUIET)
    queue.claim(10)
    queue.classified(KEY, "answer", 11)
    queue.sent(KEY, 12)
    add(queue, 1, start=2, now=20)
    assert state(queue) is State.RECEIVING
    settle(queue, 30)
    assert queue.claim(30).answer == "answer"
    assert queue.unchanged(KEY, 31)
    assert state(queue) is State.DONE


def test_files_that_come_while_it_is_classified_make_that_result_void(queue: Queue) -> None:
    add(queue, 2)
    settle(queue, QUIET)
    queue.claim(10)
    add(queue, 1, start=2, now=11)
    assert state(queue) is State.CLASSIFYING
    assert not queue.classified(KEY, "half", 12)
    assert state(queue) is State.RECEIVING
    settle(queue, 21)
    assert queue.claim(21).files == 3


def test_files_that_come_while_it_is_sent_make_another_result(queue: Queue) -> None:
    add(queue, 2)
    settle(queue, QUIET)
    queue.claim(10)
    queue.classified(KEY, "first", 11)
    add(queue, 1, start=2, now=12)
    assert state(queue) is State.SENDING
    queue.sent(KEY, 13)
    study = queue.find(KEY)
    assert (study.state, study.done, study.files) == (State.RECEIVING, 2, 3)


def test_a_cut_transfer_waits_until_one_ends_in_order(queue: Queue) -> None:
    add(queue, 2, transfer=True)
    settle(queue, QUIET)
    assert (state(queue), queue.find(KEY).code) == (State.INCOMPLETE, TRANSFER_CUT)
    add(queue, 1, start=2, now=20, transfer=True)
    assert state(queue) is State.RECEIVING
    queue.end_transfer([KEY])
    settle(queue, 30)
    assert state(queue) is State.READY


def test_a_cut_transfer_that_is_repeated_without_anything_new_is_whole(queue: Queue) -> None:
    add(queue, 2, transfer=True)
    settle(queue, QUIET)
    queue.add(KEY, "0.dcm", "receiver", 20, transfer=True)
    queue.end_transfer([KEY])
    settle(queue, 30)
    assert state(queue) is State.READY


def test_an_incomplete_study_is_set_aside_with_its_reason(queue: Queue) -> None:
    add(queue, 2)
    settle(queue, QUIET)
    queue.claim(10)
    queue.wait(KEY, MissingSlicesError("3 slice(s) are missing."))
    settle(queue, PATIENCE - 1)
    assert state(queue) is State.INCOMPLETE
    settle(queue, PATIENCE)
    study = queue.find(KEY)
    assert (study.state, study.code, study.reason) == (State.ASIDE, "missing-slices", "3 slice(s) are missing.")


def test_a_file_completes_a_study_that_was_set_aside(queue: Queue) -> None:
    add(queue, 2)
    settle(queue, QUIET)
    queue.claim(10)
    queue.set_aside(KEY, NotChestError("No lungs."), 11)
    add(queue, 1, start=2, now=20)
    study = queue.find(KEY)
    assert (study.state, study.reason) == (State.RECEIVING, None)


def test_a_study_that_fails_is_set_aside_and_others_go_on(queue: Queue) -> None:
    add(queue, 1)
    add(queue, 1, key=OTHER, now=1)
    settle(queue, 20)
    error = InternalError("It failed.")
    assert queue.claim(20).key == KEY
    queue.fail(KEY, error, 20, attempts=3, delay=5)
    assert queue.claim(20).key == OTHER, "until it is tried again it is not in the way"
    queue.set_aside(OTHER, NotChestError("No lungs."), 21)
    for attempt in (2, 3):
        claimed = queue.claim(20 + attempt * 10)
        assert (claimed.key, claimed.attempts) == (KEY, attempt)
        queue.fail(KEY, error, 20 + attempt * 10, attempts=3, delay=5)
    assert (state(queue), queue.find(KEY).code) == (State.ASIDE, "internal")
    assert queue.claim(10_000) is None


def test_kills_count_as_attempts(tmp_path: Path) -> None:
    for attempt in range(1, 4):
        queue = Queue(tmp_path)
        if attempt == 1:
            add(queue, 1)
            settle(queue, QUIET)
        queue.recover(10, attempts=3)
        assert queue.claim(10).attempts == attempt
        # Killed here.
        queue.close()
    queue = Queue(tmp_path)
    queue.recover(10, attempts=3)
    study = queue.find(KEY)
    assert (study.state, study.code) == (State.ASIDE, "worker-died")
    queue.close()


def test_a_stop_in_order_counts_as_none(queue: Queue) -> None:
    add(queue, 1)
    settle(queue, QUIET)
    for _ in range(5):
        assert queue.claim(10).attempts == 1
        queue.release(KEY)


def test_results_survive_a_restart(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    add(queue, 1)
    settle(queue, QUIET)
    queue.claim(10)
    queue.classified(KEY, "answer", 11)
    queue.close()
    queue = Queue(tmp_path)
    queue.recover(12, attempts=3)
    assert queue.sendable(12).key == KEY
    queue.close()


def test_a_clock_that_was_set_back_delays_nothing(queue: Queue) -> None:
    add(queue, 1, now=1_000_000)
    queue.recover(100, attempts=3)
    settle(queue, 100 + QUIET)
    assert state(queue) is State.READY


def test_retry_classifies_or_sends_what_is_there(queue: Queue) -> None:
    add(queue, 1, transfer=True)
    settle(queue, QUIET)
    queue.retry(KEY)
    claimed = queue.claim(20)
    assert claimed.forced
    assert queue.classified(KEY, "answer", 21)
    queue.set_aside(KEY, InternalError("Refused."), 22)
    queue.retry(KEY)
    assert state(queue) is State.SENDING
    with pytest.raises(ConflictError):
        queue.retry(KEY)


def test_drop_forgets_but_not_what_is_being_done(queue: Queue) -> None:
    add(queue, 1)
    settle(queue, QUIET)
    queue.claim(10)
    with pytest.raises(ConflictError):
        queue.drop(KEY)
    queue.set_aside(KEY, NotChestError("No lungs."), 11)
    queue.drop(KEY)
    with pytest.raises(NotFoundError):
        queue.find(KEY)
    add(queue, 1, now=20)
    assert state(queue) is State.RECEIVING


def test_two_names_with_one_beginning_are_not_mixed_up(queue: Queue) -> None:
    add(queue, 1, key="ab" * 16)
    add(queue, 1, key="ac" * 16)
    with pytest.raises(NotFoundError):
        queue.find("a")
    assert queue.find("ac").key == "ac" * 16


def test_the_files_of_old_studies_may_go(queue: Queue) -> None:
    add(queue, 1)
    settle(queue, QUIET)
    queue.claim(10)
    queue.classified(KEY, "answer", 11)
    queue.sent(KEY, 12)
    assert queue.ended_before(12, 1000) == []
    assert queue.ended_before(13, 0) == [KEY]
    queue.add(KEY, "0.dcm", "receiver", 50, transfer=False)
    assert queue.ended_before(50, 0) == [], "somebody sends it again: more may follow"
