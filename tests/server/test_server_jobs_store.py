"""The list of jobs on disk: damage, clocks, restarts, forgetting."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

import pytest

from covid_bert.errors import BusyError, GoneError, OutputError
from covid_bert.server.jobs.clock import SteadyClock, iso
from covid_bert.server.jobs.records import typed_error
from covid_bert.server.jobs.store import REMEMBERED_SECONDS, JobStore
from covid_bert.server.jobs.submission import Prepared

NOW = 1_700_000_000.0
HOUR = 3600.0


def prepared(image: str, *, borrowed: bool = False) -> Prepared:
    return Prepared("lungs", {"model": "lungs", "image": image}, f"key of {image}", borrowed=borrowed)


def add(store: JobStore, image: str = "study", now: float = NOW, **options) -> str:
    return store.add("anna", prepared(image, **options), now, limit=1000, own_limit=500).id


def run(store: JobStore, now: float = NOW, *, image: bytes = b"mask") -> Path:
    """Compute what is next."""
    computation = store.unfinished()[0]
    folder = store.start(computation, now)
    (folder / "mask.nii.gz").write_bytes(image)
    store.finish(computation.number, now + 5, key=computation.key, files={"mask": "mask.nii.gz"}, params={"a": 1})
    return folder / "mask.nii.gz"


@pytest.fixture
def store(tmp_path: Path):
    made = JobStore(tmp_path / "jobs", NOW)
    yield made
    made.close()


@pytest.mark.parametrize("damage", ["text", "pages", "version"])
def test_a_damaged_list_is_moved_aside(tmp_path: Path, caplog, damage: str) -> None:
    store = JobStore(tmp_path, NOW)
    for number in range(200):
        add(store, f"study{number}")
    run(store)
    store.close()
    path = tmp_path / "jobs.sqlite"
    content = path.read_bytes()
    if damage == "text":
        path.write_bytes(b"no database at all" * 100)
    elif damage == "pages":
        path.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))
    else:
        with sqlite3.connect(path) as database:
            database.execute("PRAGMA user_version = 99")
        database.close()
    again = JobStore(tmp_path, NOW)
    assert "moved aside" in caplog.text
    assert again.jobs(None) == []
    assert list((tmp_path / "results").iterdir()) == []
    (moved,) = tmp_path.glob("damaged-*-jobs.sqlite")
    add(again)
    again.expire(NOW, lifetime=HOUR)
    assert moved.exists()
    os.utime(moved, (time.time() - 2 * HOUR,) * 2)
    again.expire(NOW, lifetime=HOUR)
    assert not moved.exists(), "it names studies too"
    again.close()


def test_an_unreadable_folder_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("a file")
    with pytest.raises(OutputError):
        JobStore(tmp_path / "jobs", NOW)


def test_a_disk_that_takes_nothing_is_a_typed_error_and_changes_nothing(store: JobStore) -> None:
    kept = add(store)
    store._database.execute("PRAGMA query_only = ON")
    with pytest.raises(OutputError):
        add(store, "other")
    store._database.execute("PRAGMA query_only = OFF")
    assert [job.id for job in store.jobs(None)] == [kept]
    add(store, "other")


def test_a_killed_servers_jobs(tmp_path: Path) -> None:
    store = JobStore(tmp_path, NOW)
    done, running, queued = add(store, "done"), add(store, "running"), add(store, "queued")
    file = run(store)
    computation = store.unfinished()[0]
    leftover = store.start(computation, NOW)
    (leftover / "half").touch()
    (tmp_path / "results" / "of-nobody").mkdir()
    store.close()
    store = JobStore(tmp_path, NOW + 10)
    assert [store.job(one).state for one in (done, running, queued)] == ["done", "failed", "queued"]
    error = store.job(running).error
    assert error["code"] == "interrupted"
    assert error["message"]
    assert error["hint"]
    assert list((tmp_path / "results").iterdir()) == [file.parent]
    store.close()


def test_a_clock_that_is_set_back_moves_no_time_while_the_server_runs(monkeypatch) -> None:
    clock = SteadyClock()
    before = clock()
    monkeypatch.setattr(time, "time", lambda: before - 24 * HOUR)
    assert before <= clock() < before + HOUR


def test_a_clock_set_back_before_a_start_keeps_no_result_longer(tmp_path: Path) -> None:
    store = JobStore(tmp_path, NOW)
    job = add(store)
    file = run(store)
    store.close()
    earlier = NOW - 1000 * HOUR
    store = JobStore(tmp_path, earlier)
    record = store.job(job)
    assert record.created == record.started == record.ended == earlier
    store.expire(earlier + HOUR - 1, lifetime=HOUR)
    assert file.exists()
    store.expire(earlier + HOUR + 1, lifetime=HOUR)
    assert store.job(job).state == "expired"
    assert not file.exists()
    store.close()


def test_a_shared_result_stays_for_the_later_job(store: JobStore) -> None:
    first = add(store)
    file = run(store)
    second = add(store, now=NOW + 0.9 * HOUR)
    store.expire(NOW + HOUR + 6, lifetime=HOUR)
    assert [store.job(one).state for one in (first, second)] == ["expired", "done"]
    assert file.exists()
    store.expire(NOW + 2 * HOUR, lifetime=HOUR)
    assert store.job(second).state == "expired"
    assert not file.exists()
    assert add(store, now=NOW + 2 * HOUR)
    assert store.unfinished(), "what has expired is computed again"


def test_expired_jobs_are_forgotten_in_the_end(store: JobStore) -> None:
    jobs = [add(store, "done"), add(store, "failed"), add(store, "cancelled"), add(store, "queued")]
    run(store)
    store.fail(
        store.unfinished()[0].number, NOW, {"code": "bad-input", "message": "m", "hint": "h", "details": {"a": 1}}
    )
    store.cancel(jobs[2], NOW)
    assert store.job(jobs[1]).details == {"a": 1}
    store.expire(NOW + HOUR + 6, lifetime=HOUR)
    assert store.job(jobs[1]).details == {}
    assert [store.job(job).state for job in jobs] == ["expired", "failed", "cancelled", "queued"]
    store.expire(NOW + HOUR + REMEMBERED_SECONDS, lifetime=HOUR)
    assert [store.job(job) is None for job in jobs] == [True, True, True, False]


def test_nothing_of_a_study_is_in_any_file_after_expiry(store: JobStore) -> None:
    add(store, "/studies/patient-miller")
    run(store, image=b"patient-miller")
    assert any(b"patient-miller" in path.read_bytes() for path in store.folder.rglob("*") if path.is_file())
    store.expire(NOW + 2 * HOUR, lifetime=HOUR)
    assert not any(b"patient-miller" in path.read_bytes() for path in store.folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("borrowed", [True, False])
def test_studies_that_are_gone_take_their_results_with_them(store: JobStore, tmp_path: Path, borrowed: bool) -> None:
    upload = tmp_path / "upload.nii"
    upload.touch()
    job = add(store, str(upload), borrowed=borrowed)
    file = run(store)
    store.expire(NOW + 10, lifetime=HOUR)
    assert file.exists()
    upload.unlink()
    store.expire(NOW + 10, lifetime=HOUR)
    assert store.job(job).state == "expired"
    assert not file.exists()


@pytest.mark.parametrize("image", ["1.2.840.9", "/no-disk-here/study.nii.gz"])
def test_studies_that_cannot_be_looked_for_keep_their_results(store: JobStore, image: str) -> None:
    job = add(store, image)
    run(store)
    store.expire(NOW + 10, lifetime=HOUR)
    assert store.job(job).state == "done"


def test_an_uploaded_study_that_waited_is_gone_after_a_restart_and_others_wait_on(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs", NOW)
    uploaded, kept = add(store, str(tmp_path / "upload.nii"), borrowed=True), add(store)
    store.close()
    store = JobStore(tmp_path / "jobs", NOW + 1)
    found = store.job(uploaded)
    assert (found.state, store.job(kept).state) == ("failed", "queued")
    error = typed_error(found.error, found.details)
    assert isinstance(error, GoneError)
    assert "restart" in error.message
    assert "Upload it again" in error.hint
    assert [one.request["image"] for one in store.unfinished()] == ["study"]
    store.close()


def test_the_limit_counts_jobs_that_wait_also_on_equal_computations(store: JobStore) -> None:
    for owner in ("anna", "bert"):
        store.add(owner, prepared("study"), NOW, limit=2, own_limit=1)
    assert store.live() == 2
    with pytest.raises(BusyError):
        store.add("carl", prepared("study"), NOW, limit=2, own_limit=1)
    run(store)
    store.add("anna", prepared("study"), NOW, limit=1, own_limit=1)


def test_times_are_iso_in_utc() -> None:
    assert iso(NOW) == "2023-11-14T22:13:20.000Z"
    assert iso(None) is None
