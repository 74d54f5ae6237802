"""A caller's own functions, servers that never come to an end, and servers that are updated meanwhile."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from scripted_server import JOB_ID, TOKEN, Handler, job, reply
from test_client_transfers import FILE, MEBIBYTE, SESSION, study_of

from covid_bert.client import Backoff, Client, TimedOutError, VersionMismatchError, answers, link
from covid_bert.client.jobs import read_job


def closed_pipe(*_: object) -> bool:
    raise BrokenPipeError(32, "nobody reads the progress")


@pytest.mark.parametrize("role", ["on_progress", "cancelled"])
def test_an_error_of_the_callers_function_is_no_fault_of_the_network(
    server, client: Client, tmp_path: Path, role: str
) -> None:
    server.script["/session/"] = [SESSION]
    server.script[FILE] = [reply(200, bytes(MEBIBYTE))]
    client.version()
    asked = []

    def callback(*arguments: object) -> bool:
        asked.append(1)
        # The first questions come before anything is sent.
        return closed_pipe(*arguments) if len(asked) > (1 if role == "cancelled" else 0) else False

    with pytest.raises(BrokenPipeError):
        client.download(read_job(job("done"), None), tmp_path / "lungs.nii.gz", **{role: callback})
    assert server.paths().count(FILE) == 1, "it is not fetched again"
    assert list(tmp_path.iterdir()) == []
    asked.clear()
    with pytest.raises(BrokenPipeError):
        client.upload(study_of(tmp_path, MEBIBYTE), **{role: callback})


def slowly(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
    try:
        for _ in range(100):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.05)
    except OSError:
        return


def test_an_answer_that_comes_byte_by_byte_is_not_waited_for(server, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(server.url, TOKEN, read_timeout=2.0, backoff=Backoff(attempts=1))
    server.script[f"/jobs/{JOB_ID}"] = [slowly]
    client.version()
    monkeypatch.setattr(answers, "_ANSWER_SECONDS", 0.3)
    with pytest.raises(TimedOutError, match="end"):
        client.job(JOB_ID)


def test_a_server_is_asked_again_what_it_is(server, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    server.script["/info/"] = [reply(200, {})]
    client.info()
    client.info()
    assert server.paths().count("/version") == 1
    monkeypatch.setattr(link, "_KNOWN_SECONDS", 0.0)
    server.script["/version"] = [reply(200, {"name": "covid-bert", "version": "0.1.7"})]
    updated = Client(server.url, TOKEN)
    updated.info()
    server.script["/version"] = [reply(200, {"name": "covid-bert", "version": "9.0"})]
    with pytest.raises(VersionMismatchError):
        updated.info()
