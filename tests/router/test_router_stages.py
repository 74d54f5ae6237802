"""Classifying and storing: what goes wrong with one study does not stop the others, and nothing is lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pydicom
import pytest
from fake_computing import FakeComputing
from router_maker import make_study, put_all
from volume_maker import PATIENT_NAME

from covid_bert.errors import CovidBertError
from covid_bert.pacs.errors import PacsDownError, PacsRejectedError
from covid_bert.router.queue_list import State
from covid_bert.router.spool import Spool
from covid_bert.router.stages import Classifier, Deliverer, Pauses

ATTEMPTS = 2


class Place:
    """A destination that does what a test wants."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.stored: list[tuple[str, list[str]]] = []

    def store(self, files: Sequence[Path], name: str) -> None:
        if self.error is not None:
            raise self.error
        self.stored.append((name, [file.name for file in files]))


class Line:
    """The stages of a router, one step at a time."""

    def __init__(self, folder: Path, template: Path, *, seconds: float = 600.0) -> None:
        self.spool = Spool(folder / "spool", reserve_bytes=1)
        self.place, self.stop = Place(), threading.Event()
        self.computing = FakeComputing(folder / "marks", template)
        self.classifier = Classifier(
            self.spool,
            self.computing,
            attempts=ATTEMPTS,
            seconds=seconds,
            pauses=Pauses(0.001, 0.002),
            stop=self.stop,
        )
        self.deliverer = Deliverer(self.spool, self.place, attempts=ATTEMPTS, pauses=Pauses(0.001, 0.002))

    def classify(self) -> None:
        """Let everything settle and classify until nothing is ready, whatever the delays."""
        self.spool.queue.settle(time.time(), quiet=-1.0, patience=1e9)
        while self.spool.queue.counts()["ready"]:
            self.classifier.step() or time.sleep(0.02)

    def state(self, key: str) -> tuple[State, str | None]:
        study = self.spool.queue.find(key)
        return study.state, study.code


@pytest.fixture
def line(tmp_path: Path, template: Path):
    line = Line(tmp_path, template)
    yield line
    line.classifier.end()
    line.spool.close()


def test_a_study_is_classified_and_stored_once(line: Line, tmp_path: Path) -> None:
    key = put_all(line.spool, make_study(tmp_path / "study"))
    line.classify()
    assert line.state(key) == (State.SENDING, None)
    assert line.deliverer.step()
    assert line.state(key) == (State.DONE, None)
    assert not line.deliverer.step()
    assert [name for name, _ in line.place.stored] == [key]
    assert len(line.place.stored[0][1]) == 5
    assert line.computing.runs() == [key]
    assert not line.spool.outbox(key).exists()


def test_a_poison_study_is_set_aside_and_others_go_on(line: Line, tmp_path: Path) -> None:
    bad = put_all(line.spool, make_study(tmp_path / "bad", "KILL"))
    good = put_all(line.spool, make_study(tmp_path / "good"))
    line.classify()
    assert line.state(bad) == (State.ASIDE, "worker-died")
    assert line.state(good) == (State.SENDING, None)
    assert line.computing.runs().count(bad) == ATTEMPTS


def test_an_unexpected_error_is_told_without_its_message(line: Line, tmp_path: Path) -> None:
    key = put_all(line.spool, make_study(tmp_path / "study", "RAISE"))
    line.classify()
    assert line.state(key) == (State.ASIDE, "internal")
    assert PATIENT_NAME not in str(line.spool.queue.find(key))


def test_a_study_that_takes_too_long_is_ended(tmp_path: Path, template: Path) -> None:
    line = Line(tmp_path, template, seconds=0.5)
    key = put_all(line.spool, make_study(tmp_path / "study", "SLOW"))
    line.classify()
    assert line.state(key) == (State.ASIDE, "too-long")
    line.spool.close()


def test_what_is_no_fault_of_the_study_holds_all_and_sets_none_aside(line: Line, tmp_path: Path) -> None:
    key = put_all(line.spool, make_study(tmp_path / "study", "WEIGHTS"))
    line.spool.queue.settle(time.time(), quiet=-1.0, patience=1e9)
    for _ in range(ATTEMPTS + 2):
        while not line.classifier.step():
            time.sleep(0.02)
    assert line.state(key)[0] is State.READY
    assert line.classifier.trouble is not None
    assert line.classifier.trouble.code == "bad-weights"


def test_a_study_without_a_chest_is_set_aside_at_once(line: Line, tmp_path: Path) -> None:
    def other(dataset, index):
        dataset.Modality = "MR"

    key = put_all(line.spool, make_study(tmp_path / "study", edit=other))
    line.classify()
    assert line.state(key) == (State.ASIDE, "not-ct")
    assert line.computing.runs() == [key]


def test_missing_slices_are_waited_for_and_complete_the_study(line: Line, tmp_path: Path) -> None:
    files = make_study(tmp_path / "study")
    key = put_all(line.spool, [*files[:5], *files[6:]])
    line.classify()
    assert line.state(key) == (State.INCOMPLETE, "missing-slices")
    put_all(line.spool, files[5:6])
    line.classify()
    assert line.state(key) == (State.SENDING, None)


def test_later_slices_of_a_done_study_make_a_new_result(line: Line, tmp_path: Path) -> None:
    files = make_study(tmp_path / "study")
    key = put_all(line.spool, files[:-1])
    line.classify()
    line.deliverer.step()
    put_all(line.spool, files[-1:])
    line.classify()
    line.deliverer.step()
    assert line.state(key) == (State.DONE, None)
    assert [name for name, _ in line.place.stored] == [key, key]
    put_all(line.spool, files)
    line.classify()
    assert not line.deliverer.step()


def test_new_files_that_change_nothing_store_nothing(line: Line, tmp_path: Path) -> None:
    files = make_study(tmp_path / "study")
    key = put_all(line.spool, files)
    line.classify()
    line.deliverer.step()

    def localizer(dataset, index):
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        dataset.StudyInstanceUID = _uid_of(files[0])

    put_all(line.spool, make_study(tmp_path / "localizer", edit=localizer)[:1])
    line.classify()
    assert line.state(key) == (State.DONE, None)
    assert not line.deliverer.step()
    assert len(line.place.stored) == 1


def test_a_stop_ends_the_computation_and_counts_as_no_attempt(line: Line, tmp_path: Path) -> None:
    key = put_all(line.spool, make_study(tmp_path / "study", "SLOW"))
    line.spool.queue.settle(time.time(), quiet=-1.0, patience=1e9)
    thread = threading.Thread(target=line.classifier.step)
    thread.start()
    while not line.computing.runs():
        time.sleep(0.02)
    line.stop.set()
    thread.join(240)
    assert not thread.is_alive()
    study = line.spool.queue.find(key)
    assert (study.state, study.attempts) == (State.READY, 0)


def test_a_destination_that_is_down_is_waited_for(line: Line, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = put_all(line.spool, make_study(tmp_path / "study"))
    line.classify()
    line.place.error = PacsDownError("The destination cannot be reached.", "See whether it runs.")
    with caplog.at_level(logging.WARNING):
        for _ in range(ATTEMPTS + 3):
            assert not line.deliverer.step()
            time.sleep(0.01)
    assert line.state(key) == (State.SENDING, "pacs-down")
    assert line.deliverer.trouble is line.place.error
    assert PATIENT_NAME not in caplog.text
    line.place.error = None
    while not line.deliverer.step():
        time.sleep(0.01)
    assert line.state(key) == (State.DONE, None)
    assert line.deliverer.trouble is None


@pytest.mark.parametrize(
    ("error", "code"),
    [(PacsRejectedError("It refuses.", "Its log says why."), "pacs-rejected"), (RuntimeError("Doe^Jane"), "internal")],
)
def test_objects_that_are_refused_set_their_study_aside(
    line: Line, tmp_path: Path, error: Exception, code: str
) -> None:
    key = put_all(line.spool, make_study(tmp_path / "study"))
    line.classify()
    line.place.error = error
    while line.state(key)[0] is State.SENDING:
        line.deliverer.step() or time.sleep(0.02)
    assert line.state(key) == (State.ASIDE, code)
    line.place.error = None
    line.spool.queue.retry(key)
    assert line.deliverer.step()
    assert line.state(key) == (State.DONE, None)
    assert line.computing.runs() == [key], "the results were there"


def test_results_that_are_gone_are_made_again(line: Line, tmp_path: Path) -> None:
    key = put_all(line.spool, make_study(tmp_path / "study"))
    line.classify()
    for path in line.spool.outbox(key).iterdir():
        path.unlink()
    line.deliverer.step()
    line.classify()
    line.deliverer.step()
    assert line.state(key) == (State.DONE, None)
    assert len(line.computing.runs()) == 2


def test_pauses_grow_and_end() -> None:
    pauses, error = Pauses(1.0, 10.0), CovidBertError("It failed.")
    assert [pauses.failed(error) for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    pauses.went_well()
    assert pauses.trouble is None
    assert pauses.failed(error) == 1.0
    assert max(pauses.failed(error) for _ in range(5000)) == 10.0


def _uid_of(file: Path) -> str:
    return str(pydicom.dcmread(file, stop_before_pixels=True).StudyInstanceUID)
