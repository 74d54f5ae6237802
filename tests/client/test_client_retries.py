"""What is sent again, and what is never sent twice."""

from __future__ import annotations

import email.utils
import time

import pytest
from scripted_server import JOB_ID, TOKEN, cut, job, page, raw, refusal, reply, reset, slow

from covid_bert.client import (
    Backoff,
    BusyError,
    CancelledError,
    Client,
    ClientError,
    ConnectionLostError,
    ServerError,
    TimedOutError,
    UnreachableError,
    backoff,
)


class Clock:
    """Time in which nothing but pauses takes any."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


INFO = reply(200, {"models": {}})
JOB = reply(202, job())
# What leaves open whether the request has arrived.
DOUBTFUL = [reset, raw(b""), cut(b'{"id"', 100), page(502), page(504), slow(8.0, JOB)]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(backoff, "time", made)
    return made


@pytest.fixture
def client(server) -> Client:
    quick = Backoff(first_seconds=0.01, longest_seconds=2.0, total_seconds=60.0)
    return Client(server.url, TOKEN, read_timeout=1.5, backoff=quick)


@pytest.mark.parametrize("trouble", [*DOUBTFUL, refusal(503, "busy"), page(503)])
def test_questions_are_asked_again(server, client, trouble) -> None:
    server.script["/info/"] = [trouble, INFO]
    assert client.info() == {"models": {}}
    assert server.paths().count("/info/") == 2


@pytest.mark.parametrize("trouble", DOUBTFUL)
def test_what_may_have_arrived_is_sent_once(server, client, trouble, tmp_path) -> None:
    study = tmp_path / "study.nii.gz"
    study.write_bytes(b"voxels")
    server.script.update({path: [trouble, JOB] for path in ("/jobs", f"/jobs/{JOB_ID}", "/session/")})
    server.script["/session/one"] = [trouble, JOB]
    calls = [
        ("/jobs", lambda: client.submit("lungs", image="study-1")),
        (f"/jobs/{JOB_ID}", lambda: client.cancel(_job(server, client))),
        ("/session/", lambda: client.upload(study)),
        ("/session/one", lambda: client.close_session("one")),
    ]
    for path, call in calls:
        before = [request for request in server.requests if request.method != "GET"]
        with pytest.raises((ConnectionLostError, TimedOutError)):
            call()
        sent = [request for request in server.requests if request.method != "GET"]
        assert [request.path for request in sent[len(before) :]] == [path]


def _job(server, client):
    steps = server.script["/jobs"]
    server.script["/jobs"] = [reply(200, {"jobs": [job()]})]
    (found,) = client.jobs()
    server.script["/jobs"] = steps
    return found


def test_busy_server_is_asked_again_after_the_time_that_it_names(server, client, clock) -> None:
    server.script["/jobs"] = [refusal(429, "busy", {"Retry-After": "1"}), JOB]
    assert client.submit("lungs", image="study-1").state == "queued"
    assert clock.now == pytest.approx(1.0)
    assert server.paths() == ["/version", "/jobs", "/jobs"]


def test_time_that_the_server_names_may_be_a_date(server, client) -> None:
    date = email.utils.formatdate(time.time() + 100, usegmt=True)
    server.script["/jobs"] = [refusal(429, "busy", {"Retry-After": date})]
    with pytest.raises(BusyError) as caught:
        client.submit("lungs", image="study-1")
    # Less what the request takes.
    assert 0 < caught.value.retry_after <= 101


@pytest.mark.parametrize("seconds", [5, 86400])
def test_server_that_asks_for_a_long_pause_is_not_waited_for(server, client, seconds) -> None:
    server.script["/jobs"] = [refusal(429, "busy", {"Retry-After": str(seconds)}), JOB]
    with pytest.raises(BusyError) as caught:
        client.submit("lungs", image="study-1")
    assert caught.value.retry_after == seconds
    assert server.paths().count("/jobs") == 1


@pytest.mark.parametrize("header", ["soon", "-5", "1e9", "", "٣"])
def test_time_that_is_none_is_left_out(server, client, header) -> None:
    server.script["/info/"] = [refusal(429, "busy", {"Retry-After": header.encode().decode("latin-1")}), INFO]
    assert client.info() == {"models": {}}


def test_attempts_come_to_an_end(server, client) -> None:
    server.script["/info/"] = [refusal(503, "busy")]
    with pytest.raises(BusyError):
        client.info()
    assert server.paths().count("/info/") == 4


def test_no_attempt_begins_after_the_time_for_all(server, clock) -> None:
    client = Client(server.url, TOKEN, backoff=Backoff(attempts=100, first_seconds=0.2, total_seconds=0.5))
    server.script["/info/"] = [reset]
    with pytest.raises(ConnectionLostError):
        client.info()
    assert server.paths().count("/info/") > 1
    assert 0 < clock.now <= 0.5


def test_fault_that_lasts_is_not_asked_again(server, client) -> None:
    server.script["/jobs"] = [refusal(503, "bad-weights")]
    with pytest.raises(ServerError) as caught:
        client.submit("lungs", image="study-1")
    assert caught.value.code == "bad-weights"
    assert server.paths().count("/jobs") == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 413, 415, 422, 500, 507])
def test_other_refusals_are_not_asked_again(server, client, status) -> None:
    server.script["/info/"] = [refusal(status, "refused")]
    with pytest.raises(ClientError):
        client.info()
    assert server.paths().count("/info/") == 1


def test_server_that_comes_back_is_found(server, monkeypatch) -> None:
    """Nothing at the port: the request was not sent, so that it may be sent again."""
    server.script["/jobs"] = [JOB]
    client = Client(server.url, TOKEN, backoff=Backoff(first_seconds=0.01))
    client.version()
    attempts = iter([ConnectionRefusedError(), OSError("No route to host")])
    connect = "http.client.HTTPConnection.connect"
    import http.client

    original = http.client.HTTPConnection.connect

    def sometimes(connection):
        trouble = next(attempts, None)
        if trouble is not None:
            raise trouble
        return original(connection)

    monkeypatch.setattr(connect, sometimes)
    assert client.submit("lungs", image="study-1").id == JOB_ID
    assert server.paths().count("/jobs") == 1


def test_server_that_does_not_come_back(server) -> None:
    client = Client("http://127.0.0.1:9", TOKEN, backoff=Backoff(attempts=2, first_seconds=0.01))
    with pytest.raises(UnreachableError):
        client.submit("lungs", image="study-1")


def test_upload_is_read_anew_for_each_attempt(server, client, tmp_path) -> None:
    study = tmp_path / "study.nrrd"
    study.write_bytes(b"v" * 300_000)
    server.script["/session/"] = [refusal(503, "busy"), reply(200, {"session_id": "one"})]
    assert client.upload(study) == "one"
    first, second = (request.body for request in server.requests if request.path == "/session/")
    assert len(first) == len(second)
    assert b"v" * 300_000 in second


def test_pause_ends_when_the_user_cancels(server, tmp_path, clock) -> None:
    client = Client(server.url, TOKEN)
    study = tmp_path / "study.nrrd"
    study.write_bytes(b"v")
    server.script["/session/"] = [refusal(429, "busy", {"Retry-After": "15"})]
    with pytest.raises(CancelledError):
        client.upload(study, cancelled=lambda: clock.now > 0.5)
    assert 0.5 < clock.now < 1.0
