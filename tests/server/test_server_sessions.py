"""Uploaded studies: a lease, limits, owners, and nothing left on disk."""

from __future__ import annotations

import io
import os
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi import Request

from covid_bert.errors import BusyError, GoneError, NotFoundError, OutputError, TooLargeError
from covid_bert.server.access import Role
from covid_bert.server.authentication import Caller
from covid_bert.server.sessions import hold_own
from covid_bert.server.sessions_store import SessionStore


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(tmp_path: Path, clock: Clock) -> SessionStore:
    return SessionStore(tmp_path / "sessions", most=3, minutes=10, megabytes=2, clock=clock)


def upload(kept: SessionStore, content: bytes = b"patient", owner: str = "anna", **options):
    return kept.create([("a.nii", io.BytesIO(content))], owner, **options)


def files(kept: SessionStore) -> list[Path]:
    # Unlike rglob, it goes past a folder that is being removed just now.
    return [Path(folder, name) for folder, inside, names in os.walk(kept.store_path) for name in (*inside, *names)]


def test_a_session_is_private_and_gone_when_it_is_released(kept: SessionStore) -> None:
    session = upload(kept)
    assert session.image.read_bytes() == b"patient"
    assert Path(kept.store_path).stat().st_mode & 0o777 == 0o700
    assert uuid.UUID(session.identifier).version == 4
    kept.remove_session(session.identifier)
    assert files(kept) == []
    with pytest.raises(GoneError) as caught:
        kept.get_session(session.identifier)
    assert caught.value.http_status == 410


def test_each_use_renews_the_lease_and_looking_does_not(kept: SessionStore, clock: Clock) -> None:
    session = upload(kept)
    for _ in range(3):
        clock.now += 599
        kept.get_session(session.identifier)
    assert kept.seconds_left(session.identifier) == 600
    clock.now += 599
    kept.get_session(session.identifier, update_ts=False)
    clock.now += 2
    with pytest.raises(GoneError):
        kept.get_session(session.identifier)
    assert kept.remove_expired() == 1
    assert files(kept) == []


def test_a_session_that_a_job_waits_for_outlives_its_lease(kept: SessionStore, clock: Clock) -> None:
    session = upload(kept)
    kept.hold(session.identifier)
    kept.hold(session.identifier)
    clock.now += 10_000
    assert kept.remove_expired() == 0
    kept.let_go(session.identifier)
    clock.now += 10_000
    assert kept.get_session(session.identifier, update_ts=False) == session
    kept.let_go(session.identifier)
    clock.now += 599
    assert kept.remove_expired() == 0, "the lease begins anew"
    clock.now += 2
    assert kept.remove_expired() == 1
    with pytest.raises(GoneError):
        kept.hold(session.identifier)


def test_a_session_that_is_ended_goes_whoever_holds_it(kept: SessionStore) -> None:
    session = upload(kept)
    kept.hold(session.identifier)
    kept.remove_session(session.identifier)
    assert files(kept) == []
    kept.let_go(session.identifier)


def test_no_job_holds_the_session_of_another_user(kept: SessionStore, clock: Clock) -> None:
    session = upload(kept).identifier

    def asked_by(name: str) -> Request:
        return Request({"type": "http", "state": {"caller": Caller(name, Role.READER)}})

    with pytest.raises(GoneError):
        hold_own(kept, asked_by("bert"), session)
    let_go = hold_own(kept, asked_by("anna"), session)
    clock.now += 10_000
    assert kept.remove_expired() == 0
    let_go()
    clock.now += 601
    assert kept.remove_expired() == 1


def test_a_shorter_lease_is_given_and_a_longer_one_is_not(kept: SessionStore) -> None:
    assert upload(kept, seconds=30).lease_seconds == 30
    assert upload(kept, seconds=10**9).lease_seconds == 600


@pytest.mark.parametrize("identifier", ["", "../../etc", "x", "0" * 32, ".."])
def test_what_is_no_session_id_leads_nowhere(kept: SessionStore, identifier: str) -> None:
    upload(kept)
    with pytest.raises(NotFoundError):
        kept.get_session(identifier)
    kept.remove_session(identifier)
    assert len(files(kept)) == 2


def test_only_so_many_and_so_large(kept: SessionStore) -> None:
    with pytest.raises(TooLargeError) as large:
        upload(kept, b"x" * (2 * 2**20 + 1))
    assert large.value.http_status == 413
    upload(kept, b"x" * 2**20)
    with pytest.raises(BusyError) as full:
        upload(kept, b"x" * (2**20 + 1))
    assert full.value.details["retry_after"] > 0
    upload(kept)
    upload(kept)
    with pytest.raises(BusyError):
        upload(kept)
    assert len(files(kept)) == 6, "nothing is left of uploads that were refused"


def test_an_expired_session_makes_room(kept: SessionStore, clock: Clock) -> None:
    for _ in range(3):
        upload(kept)
    clock.now += 601
    upload(kept)
    assert len(files(kept)) == 2


def test_a_full_disk_leaves_nothing(kept: SessionStore, monkeypatch) -> None:
    class Failing(io.BytesIO):
        def read(self, *_):
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError) as caught:
        kept.create([("a.nii", Failing())], "anna")
    assert caught.value.http_status == 507
    assert files(kept) == []
    upload(kept)


def test_the_folder_is_emptied_at_the_start_and_at_the_end(tmp_path: Path) -> None:
    left = tmp_path / "sessions" / str(uuid.uuid4())
    left.mkdir(parents=True)
    (left / "patient.nii").write_text("x")
    kept = SessionStore(tmp_path / "sessions", most=3, minutes=10, megabytes=2)
    assert files(kept) == []
    upload(kept)
    kept.close()
    assert not (tmp_path / "sessions").exists()
    with pytest.raises(BusyError):
        upload(kept)


def expire_by_itself(kept: SessionStore, clock: Clock) -> None:
    """Wait until the thread has removed all."""
    kept.start()
    try:
        clock.now += 601
        deadline = time.monotonic() + 60
        while files(kept):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        kept.close()


def test_a_thread_removes_what_has_expired(kept: SessionStore, clock: Clock, monkeypatch) -> None:
    monkeypatch.setattr("covid_bert.server.sessions_store._SWEEP_SECONDS", 0.05)
    upload(kept)
    expire_by_itself(kept, clock)


def test_the_thread_goes_on_after_a_failure(kept: SessionStore, clock: Clock, monkeypatch) -> None:
    monkeypatch.setattr("covid_bert.server.sessions_store._SWEEP_SECONDS", 0.05)
    upload(kept)
    whole, failures = kept.remove_expired, []

    def sometimes() -> int:
        if not failures:
            failures.append(1)
            raise OSError("the disk does not answer")
        return whole()

    monkeypatch.setattr(kept, "remove_expired", sometimes)
    expire_by_itself(kept, clock)
    assert failures


@pytest.mark.skipif(os.name == "nt", reason="modes")
def test_files_that_could_not_be_removed_are_removed_later(kept: SessionStore, monkeypatch) -> None:
    session = upload(kept)
    with monkeypatch.context() as patch:
        patch.setattr("covid_bert.server.sessions_store.shutil.rmtree", lambda *_, **__: None)
        kept.remove_session(session.identifier)
    assert files(kept)
    kept.remove_expired()
    assert files(kept) == []


def test_many_at_once_stay_within_the_limit(tmp_path: Path) -> None:
    kept = SessionStore(tmp_path / "sessions", most=3, minutes=10, megabytes=2)
    refused = []

    def one() -> None:
        try:
            upload(kept)
        except BusyError:
            refused.append(1)

    threads = [threading.Thread(target=one) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 9
    assert len(files(kept)) == 6
