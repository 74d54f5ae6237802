"""Sessions and jobs from the first request to the mask, against the contract in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import job_server
import pytest
from job_server import IMAGE, JobServer, wait_for
from scripted_server import TOKEN

from covid_bert.client import (
    Backoff,
    CancelledError,
    Client,
    ConflictError,
    GoneError,
    InvalidRequestError,
    JobFailedError,
    NotFoundError,
    TokenRefusedError,
)


@pytest.fixture
def jobs() -> Iterator[JobServer]:
    with job_server.running() as running:
        yield running


@pytest.fixture
def client(jobs) -> Client:
    return Client(jobs.url, TOKEN, read_timeout=5.0, backoff=Backoff(first_seconds=0.01))


def test_study_of_the_server(client, tmp_path) -> None:
    assert client.version() == "0.1.0"
    assert client.readiness().ready is True
    assert "lungs" in client.info()["models"]
    seen = []
    submitted = client.submit("lungs", image="study-1", params={"reply_image": "lungs"})
    assert (submitted.state, submitted.model, submitted.seconds_left) == ("queued", "lungs", 3.0)
    done = client.wait(submitted, on_progress=seen.append, poll_seconds=0.01)
    assert [(job.stage, job.fraction) for job in seen[:3]] == job_server.STAGES
    assert (seen[-1], done.state, done.fraction, done.place) == (done, "done", 1.0, None)
    result = client.result(done)
    assert result.params["lung_volume_ml"]["total"] == 5000.0
    assert result.files == ["lungs"]
    assert client.download(done, tmp_path / "mask.nii.gz").read_bytes() == IMAGE
    assert list(tmp_path.iterdir()) == [tmp_path / "mask.nii.gz"]
    assert client.jobs() == [done]


def test_uploaded_study(client, jobs, tmp_path) -> None:
    study = tmp_path / "Meier^Hans.nrrd"
    study.write_bytes(bytes(range(256)) * 1000)
    session_id = client.upload(study)
    assert jobs.sessions == {session_id: ("study.nrrd", study.read_bytes())}
    client.wait(client.submit("lungs", session_id=session_id), poll_seconds=0.01)
    client.close_session(session_id)
    assert jobs.sessions == {}
    client.close_session(session_id)
    with pytest.raises(NotFoundError):
        client.submit("lungs", session_id=session_id)


def test_result_of_a_job_that_is_not_done_or_gone(client, jobs, tmp_path) -> None:
    submitted = client.submit("lungs", image="study-1")
    with pytest.raises(ConflictError):
        client.result(submitted)
    jobs.jobs[submitted.id]["state"] = "expired"
    for ask in (client.result, client.wait, lambda job: client.download(job, tmp_path / "mask")):
        with pytest.raises(GoneError):
            ask(submitted)
    assert list(tmp_path.iterdir()) == []


def test_job_that_fails_says_why(client, jobs) -> None:
    jobs.fault = {"code": "no-lungs", "message": "No lungs were found.", "hint": "Give a chest CT."}
    with pytest.raises(JobFailedError) as caught:
        client.wait(client.submit("lungs", image="study-1"), poll_seconds=0.01)
    error = caught.value
    assert (error.code, str(error)) == ("no-lungs", "No lungs were found. Give a chest CT.")


def test_job_that_fails_without_words(client, jobs) -> None:
    jobs.fault = {}
    with pytest.raises(JobFailedError, match="could not finish") as caught:
        client.wait(client.submit("lungs", image="study-1"), poll_seconds=0.01)
    assert caught.value.code == "job-failed"


def test_user_who_cancels_stops_the_job_on_the_server(client, jobs) -> None:
    jobs.holds = True
    submitted = client.submit("lungs", image="study-1")
    asked = threading.Event()
    stop = threading.Event()
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            client.wait(submitted, on_progress=lambda _: asked.set(), cancelled=stop.is_set, poll_seconds=60)
        except CancelledError as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert asked.wait(5)
    assert jobs.jobs[submitted.id]["state"] == "queued"
    stop.set()
    wait_for(lambda: jobs.jobs[submitted.id]["state"] == "cancelled", seconds=2)
    thread.join(2)
    assert len(caught) == 1


def test_job_that_somebody_else_cancels(client, jobs) -> None:
    jobs.holds = True
    submitted = client.submit("lungs", image="study-1")
    assert client.cancel(submitted).state == "cancelled"
    with pytest.raises(CancelledError, match="on the server"):
        client.wait(submitted)


def test_cancelling_a_job_that_is_done_changes_nothing(client) -> None:
    done = client.wait(client.submit("lungs", image="study-1"), poll_seconds=0.01)
    assert client.cancel(done) == done


def test_user_who_cancels_while_the_server_is_away_is_not_bothered(client, jobs) -> None:
    submitted = client.submit("lungs", image="study-1")
    jobs.jobs.clear()
    with pytest.raises(CancelledError):
        client.wait(submitted, cancelled=lambda: True)


def test_unknown_study_and_unknown_job(client) -> None:
    with pytest.raises(NotFoundError):
        client.submit("lungs", image="study-2")
    with pytest.raises(NotFoundError):
        client.job("f" * 32)


def test_wrong_token(jobs) -> None:
    with pytest.raises(TokenRefusedError):
        Client(jobs.url, TOKEN[::-1]).jobs()


@pytest.mark.parametrize("identifier", ["", "../info", "F" * 32, "f" * 31, "f" * 32 + "\n", "f" * 31 + "/"])
def test_what_is_no_job_is_not_asked_for(client, identifier) -> None:
    with pytest.raises(InvalidRequestError):
        client.job(identifier)


@pytest.mark.parametrize("identifier", ["", "..", ".hidden", "a/b", "a?b", "a b", "a\nb"])
def test_what_is_no_session_is_not_asked_for(client, identifier) -> None:
    with pytest.raises(InvalidRequestError):
        client.close_session(identifier)


def test_submission_of_no_study_or_two(client, jobs) -> None:
    for study in ({}, {"image": "study-1", "session_id": "one"}):
        with pytest.raises(InvalidRequestError, match="one study"):
            client.submit("lungs", **study)
    assert jobs.jobs == {}


@pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}, b"bytes"])
def test_parameters_that_json_cannot_hold(client, jobs, value) -> None:
    with pytest.raises(InvalidRequestError, match="JSON"):
        client.submit("lungs", image="study-1", params={"value": value})
    assert jobs.jobs == {}


def test_one_client_in_several_threads(client, jobs) -> None:
    done: list[str] = []
    threads = [
        threading.Thread(
            target=lambda: done.append(client.wait(client.submit("lungs", image="study-1"), poll_seconds=0.01).state)
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert done == ["done"] * 8
    assert len(jobs.jobs) == 8
