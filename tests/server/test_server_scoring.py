"""Scoring in the background: it makes way, survives its process, and goes on after a restart."""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from fake_jobs import await_that
from fake_scoring import make_fake

from covid_bert.active_learning.score_store import ScoreStore
from covid_bert.errors import BusyError
from covid_bert.progress import Progress
from covid_bert.server import scoring as scoring_module
from covid_bert.server import scoring_process
from covid_bert.server.scoring import Scoring

METHOD = "study_scores"


class Bench:
    """Studies that a fake process scores by writing their names into a journal, one step after the other."""

    def __init__(self, folder: Path, studies: str) -> None:
        self.folder, self.studies = folder, studies.split()
        self.waiting = False
        self.store = ScoreStore(folder / "store")
        self.weights = "w1"
        for name in ("steps", "scored"):
            (folder / name).touch()

    def missing(self) -> dict[str, Path]:
        done = self.lines("scored")
        return {name: self.folder / name for name in self.studies if f"{name} {self.weights}" not in done}

    def lines(self, name: str) -> list[str]:
        return (self.folder / name).read_text().splitlines()

    def steps(self) -> int:
        return len(self.lines("steps"))

    def open(self) -> None:
        """Let studies end."""
        (self.folder / "open").touch()

    def scoring(self) -> Scoring:
        make = functools.partial(make_fake, str(self.folder))
        return Scoring(lambda: self.store, self.missing, make, lambda: self.waiting)


@pytest.fixture(autouse=True)
def _weights(monkeypatch) -> None:
    monkeypatch.setattr(scoring_module, "weights_digest", lambda: "w1")


@contextmanager
def running(folder: Path, studies: str, *, start: bool = True) -> Iterator[tuple[Bench, Scoring]]:
    bench = Bench(folder, studies)
    scoring = bench.scoring()
    try:
        if start:
            scoring.start(METHOD)
        yield bench, scoring
    finally:
        scoring.close()


def ended(scoring: Scoring) -> str:
    await_that(lambda: scoring.running() is None)
    return scoring.tasks()[-1].status


def test_all_studies_are_scored_one_after_the_other(tmp_path: Path) -> None:
    with running(tmp_path, "a b c") as (bench, scoring):
        bench.open()
        assert ended(scoring) == "DONE"
        assert bench.lines("scored") == ["a w1", "b w1", "c w1"]
        assert len(set(bench.lines("pids"))) == 1
        task = scoring.tasks()[-1]
        assert (task.total, task.done, task.failed) == (3, 3, 0)
        assert task.details == ["3 of 3 studies, 0 without scores"]
        assert scoring.worker_pid is None, "no memory is held while nothing is scored"
        assert bench.store.unfinished() == []


def test_it_stops_while_an_inference_waits_and_goes_on_after_it(tmp_path: Path) -> None:
    with running(tmp_path, "a b") as (bench, scoring):
        await_that(lambda: bench.steps() > 2)
        bench.waiting = True
        await_that(lambda: scoring.tasks()[-1].waiting)
        # A step may have been under way; after it there is none.
        await_that(lambda: stands_still(bench))
        bench.open()
        assert stands_still(bench)
        assert bench.lines("scored") == []
        bench.waiting = False
        assert ended(scoring) == "DONE"
        assert len(bench.lines("scored")) == 2
        assert not scoring.tasks()[-1].waiting


def stands_still(bench: Bench) -> bool:
    before = bench.steps()
    time.sleep(0.3)
    return bench.steps() == before


def test_it_does_not_begin_while_an_inference_waits(tmp_path: Path) -> None:
    with running(tmp_path, "a", start=False) as (bench, scoring):
        bench.waiting = True
        bench.open()
        scoring.start(METHOD)
        await_that(lambda: scoring.tasks()[-1].waiting)
        assert scoring.worker_pid is None
        bench.waiting = False
        assert ended(scoring) == "DONE"


def test_a_paused_run_can_be_stopped(tmp_path: Path) -> None:
    with running(tmp_path, "a") as (bench, scoring):
        await_that(lambda: bench.steps() > 0)
        bench.waiting = True
        await_that(lambda: scoring.tasks()[-1].waiting)
        assert scoring.stop().status == "STOPPED"
        assert bench.store.unfinished() == []
        assert scoring.stop() is None


def test_a_killed_process_is_replaced_and_the_study_scored(tmp_path: Path) -> None:
    with running(tmp_path, "a b") as (bench, scoring):
        await_that(lambda: bench.steps() > 0)
        os.kill(scoring.worker_pid, signal.SIGKILL)
        await_that(lambda: len(set(bench.lines("pids"))) == 2)
        bench.open()
        assert ended(scoring) == "DONE"
        assert bench.lines("scored") == ["a w1", "b w1"]


def test_a_study_that_ends_the_process_is_given_up_and_the_others_are_scored(tmp_path: Path) -> None:
    with running(tmp_path, "die b", start=False) as (bench, scoring):
        bench.open()
        bench.store.knows("die", "state", "content", "w1")
        scoring.start(METHOD)
        assert ended(scoring) == "DONE"
        assert bench.lines("scored") == ["b w1"]
        assert len(bench.lines("pids")) == 3, "twice for the one, once for the other"
        assert scoring.tasks()[-1].failed == 1
        assert bench.store.missing([("die", "state")], "w1") == []


def test_a_study_that_cannot_be_scored_is_counted(tmp_path: Path) -> None:
    with running(tmp_path, "bad unfit c") as (bench, scoring):
        bench.open()
        assert ended(scoring) == "DONE"
        task = scoring.tasks()[-1]
        assert (task.done, task.failed) == (3, 2)
        assert bench.lines("scored")[-1] == "c w1"


def test_missing_weights_end_the_run_with_their_reason(tmp_path: Path) -> None:
    with running(tmp_path, "weights b") as (_, scoring):
        assert ended(scoring) == "ERROR"
        assert scoring.tasks()[-1].error == {"code": "bad-weights", "message": "Damaged.", "hint": "Install again."}


def test_new_weights_make_all_of_it_missing_again(tmp_path: Path, monkeypatch) -> None:
    with running(tmp_path, "a", start=False) as (bench, scoring):
        monkeypatch.setattr(scoring_module, "weights_digest", lambda: bench.weights)
        scoring.start(METHOD)
        await_that(lambda: bench.steps() > 0)
        bench.weights = "w2"
        bench.open()
        assert ended(scoring) == "DONE"
        assert len(bench.lines("scored")) == 2, "the second time for the new weights"


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    with running(tmp_path, "a") as (_, scoring):
        with pytest.raises(BusyError):
            scoring.start(METHOD)
        scoring.ensure(METHOD)
        assert len(scoring.tasks()) == 1


def test_a_restarted_server_goes_on(tmp_path: Path) -> None:
    with running(tmp_path, "a b") as (bench, _):
        await_that(lambda: bench.steps() > 0)
    assert bench.store.unfinished() == [METHOD], "closing is not stopping"
    bench.open()
    again = bench.scoring()
    try:
        again.take_up()
        assert ended(again) == "DONE"
        assert bench.lines("scored") == ["a w1", "b w1"]
        assert bench.store.unfinished() == []
    finally:
        again.close()
    third = bench.scoring()
    third.take_up()
    assert third.tasks() == []


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="a kind of thread of Linux")
def test_the_process_is_the_last_in_line_for_the_processor(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)
    before = os.sched_getscheduler(0)
    found: list[int] = []

    def inside() -> None:
        # On Linux this is the thread's own: this process keeps its.
        scoring_process.open_scoring(str(tmp_path), 1)
        found.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert found == [os.SCHED_IDLE]
    assert os.sched_getscheduler(0) == before != os.SCHED_IDLE


def test_where_that_is_not_allowed_it_has_the_lowest_priority(monkeypatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError

    steps: list[int] = []
    monkeypatch.setattr(os, "SCHED_IDLE", 5, raising=False)
    monkeypatch.setattr(os, "sched_param", lambda priority: priority, raising=False)
    monkeypatch.setattr(os, "sched_setscheduler", refused, raising=False)
    monkeypatch.setattr(os, "nice", steps.append, raising=False)
    scoring_process._step_back()
    assert steps == [19]


def test_a_paused_scoring_waits_between_two_layers_of_a_network(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)
    monkeypatch.setattr(scoring_process, "_step_back", lambda: None)
    first, second = torch.nn.Identity(), torch.nn.Identity()
    progress, between, done = Progress(), threading.Event(), threading.Event()

    def score(*_: object) -> bool:
        first(torch.zeros(1))
        progress.pause()
        between.set()
        second(torch.zeros(1))
        return True

    monkeypatch.setattr("covid_bert.active_learning.scoring.score_into", score)
    compute = scoring_process.open_scoring(str(tmp_path), 1)

    def inside() -> None:
        compute({"identifier": "a", "image": str(tmp_path)}, progress, tmp_path)
        done.set()

    thread = threading.Thread(target=inside)
    thread.start()
    assert between.wait(60)
    assert not done.wait(0.3)
    progress.resume()
    assert done.wait(60)
    thread.join()
    progress.cancel()
    second(torch.zeros(1))  # Networks outside of a scoring know nothing of it.
