"""Servers of different studies side by side, and what one that no longer runs has left."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from covid_bert.errors import ServerError
from covid_bert.server.jobs import database
from covid_bert.server.jobs.folders import expire_elsewhere, jobs_folder
from covid_bert.server.jobs.store import JobStore
from covid_bert.server.jobs.submission import Prepared
from covid_bert.server.launch import only_server_of

DAY = 24 * 3600.0


def with_a_result(folder: Path, age: float) -> tuple[JobStore, str, Path]:
    now = time.time() - age
    store = JobStore(folder, now)
    prepared = Prepared("lungs", {"image": "study"}, "key", borrowed=False)
    job = store.add("anna", prepared, now, limit=8, own_limit=4).id
    results = store.start(store.unfinished()[0], now)
    (results / "mask.nii.gz").write_bytes(b"mask")
    store.finish(1, now, key="key", files={"mask": "mask.nii.gz"}, params={})
    return store, job, results / "mask.nii.gz"


def test_each_folder_of_studies_has_its_jobs(tmp_path: Path) -> None:
    assert jobs_folder(tmp_path / "a") == jobs_folder(tmp_path / "b" / ".." / "a")
    assert jobs_folder(tmp_path / "a") != jobs_folder(tmp_path / "b")
    first, second = (JobStore(jobs_folder(tmp_path / name), time.time()) for name in "ab")
    with pytest.raises(ServerError, match="already serves"):
        JobStore(jobs_folder(tmp_path / "a"), time.time())
    first.close()
    second.close()


def test_a_server_waits_while_another_one_looks_for_old_results(tmp_path: Path, monkeypatch) -> None:
    other, asked = JobStore(tmp_path, time.time()), threading.Event()

    def noted(*arguments: Any, **options: Any) -> FileLock:
        asked.set()
        return FileLock(*arguments, **options)

    monkeypatch.setattr(database, "FileLock", noted)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(JobStore, tmp_path, time.time(), patience=120)
        assert asked.wait(120)
        other.close()
        waiting.result(120).close()


def test_the_same_studies_are_served_once_whatever_the_data_folder(tmp_path: Path) -> None:
    with only_server_of(tmp_path), pytest.raises(ServerError, match="already serves"), only_server_of(tmp_path):
        pass
    with only_server_of(tmp_path):
        pass


def test_old_results_of_a_server_that_no_longer_runs_are_removed(tmp_path: Path) -> None:
    old, _, old_file = with_a_result(jobs_folder(tmp_path / "old"), 8 * DAY)
    young, _, young_file = with_a_result(jobs_folder(tmp_path / "young"), 2 * DAY)
    running, _, running_file = with_a_result(jobs_folder(tmp_path / "running"), 8 * DAY)
    old.close()
    young.close()
    expire_elsewhere(jobs_folder(tmp_path / "own"), lifetime=DAY)
    assert not old_file.exists()
    assert young_file.exists(), "its server may keep results for longer"
    assert running_file.exists(), "that server removes them itself"
    running.close()
