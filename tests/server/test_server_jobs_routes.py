"""The routes of jobs over HTTP, with a model that does what it is told."""

from __future__ import annotations

import time

import pytest
from fake_jobs import ADMIN, await_that, running, wait_for, wait_for_stage

from covid_bert.errors import GoneError
from needed import require_module

fastapi = require_module("fastapi", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")


@pytest.fixture(scope="module")
def held() -> list[str]:
    return []


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, held: list[str]):
    from fastapi.testclient import TestClient

    from covid_bert.server import failures
    from covid_bert.server.access import Role
    from covid_bert.server.authentication import Caller
    from covid_bert.server.jobs.routes import install

    app = fastapi.FastAPI()

    failures.install(app)

    @app.get("/healthz")
    async def _healthz():
        return {}

    @app.middleware("http")
    async def _caller(request: fastapi.Request, call_next):
        name = request.headers.get("x-test-name", "anna")
        request.state.caller = Caller(name, Role.ADMIN if name == "root" else Role.READER)
        return await call_next(request)

    def hold_session(request, session_id: str):
        if not session_id.startswith(request.state.caller.name):
            raise GoneError("The uploaded study is no longer kept.", "Upload it again.")
        held.append(session_id)
        return lambda: held.remove(session_id)

    with running(tmp_path_factory.mktemp("routes"), queue_length=6) as runner:
        install(app, runner, hold_session)
        with TestClient(app) as client:
            yield client, runner


def post(client, image: str, action: str = "work", **more):
    return client.post("/jobs", json={"model": "fake", "image": image, "params": {"action": action}, **more})


def test_submit_follow_and_fetch(served) -> None:
    client, runner = served
    reply = post(client, "patient")
    assert reply.status_code == 202
    job = reply.json()
    assert set(job) == {
        *("id", "state", "model", "stage", "fraction", "place", "seconds_left", "error"),
        *("created", "started", "ended"),
    }
    wait_for(runner, job["id"], "done")
    assert client.get(f"/jobs/{job['id']}").json()["state"] == "done"
    assert client.get(f"/jobs/{job['id']}/result").json() == {"params": {"study": "patient"}, "files": ["mask"]}
    file = client.get(f"/jobs/{job['id']}/file")
    assert file.content == b"mask of patient"
    assert file.headers["content-disposition"] == 'attachment; filename="mask.nii.gz"'


def test_a_result_may_have_several_images(served) -> None:
    client, runner = served
    job = post(client, "patient", "two").json()["id"]
    wait_for(runner, job, "done")
    assert client.get(f"/jobs/{job}/result").json()["files"] == ["mask", "map"]
    assert client.get(f"/jobs/{job}/file").content == b"mask of patient"
    for name in ("mask", "map"):
        assert client.get(f"/jobs/{job}/file?name={name}").content == f"{name} of patient".encode()
    for name in ("nothing", "mask.nii.gz", "../mask"):
        assert client.get(f"/jobs/{job}/file?name={name}").status_code == 404


def test_states_have_their_status(served) -> None:
    client, runner = served
    slow = post(client, "slow", "steps").json()["id"]
    for path in ("result", "file"):
        reply = client.get(f"/jobs/{slow}/{path}")
        assert (reply.status_code, reply.json()["detail"]["code"]) == (409, "not-ready")
    assert client.delete(f"/jobs/{slow}").json()["state"] == "cancelled"
    assert client.get(f"/jobs/{slow}/result").json()["detail"]["code"] == "cancelled"
    failed = post(client, "failed", "typed").json()["id"]
    assert wait_for(runner, failed, "failed")
    reply = client.get(f"/jobs/{failed}/result")
    assert reply.status_code == 422
    assert reply.json()["detail"]["code"] == "mixed-series"
    assert client.get(f"/jobs/{failed}").json()["error"]["code"] == "mixed-series"
    done = post(client, "short-lived").json()["id"]
    wait_for(runner, done, "done")
    runner._store.expire(time.time() + 3600, lifetime=1)
    assert client.get(f"/jobs/{done}/result").status_code == 410
    assert client.get(f"/jobs/{done}/file").status_code == 410


@pytest.mark.parametrize("opened", [False, True])
def test_a_file_that_goes_while_it_is_asked_for_is_gone(served, monkeypatch, opened: bool) -> None:
    from starlette import responses

    client, runner = served
    job = post(client, f"short-lived-{opened}").json()["id"]
    wait_for(runner, job, "done")
    file = runner.result(job, ADMIN).file
    whole = responses.anyio.open_file

    async def too_late(path, **options):
        file.unlink()
        return await whole(path, **options)

    if opened:
        monkeypatch.setattr(responses.anyio, "open_file", too_late)
    else:
        file.unlink()
    reply = client.get(f"/jobs/{job}/file")
    assert (reply.status_code, reply.json()["detail"]["code"]) == (410, "gone")


def test_a_part_of_a_file_is_sent_alone(served) -> None:
    client, runner = served
    job = post(client, "patient").json()["id"]
    wait_for(runner, job, "done")
    reply = client.get(f"/jobs/{job}/file", headers={"Range": "bytes=0-3"})
    assert (reply.status_code, reply.content) == (206, b"mask")


def test_other_users_jobs_do_not_exist(served) -> None:
    client, runner = served
    job = post(client, "mine").json()["id"]
    wait_for(runner, job, "done")
    for headers, status in (({"x-test-name": "bert"}, 404), ({"x-test-name": "root"}, 200)):
        for method, path in (("GET", ""), ("GET", "/result"), ("GET", "/file"), ("DELETE", "")):
            assert client.request(method, f"/jobs/{job}{path}", headers=headers).status_code == status
        listed = [item["id"] for item in client.get("/jobs", headers=headers).json()["jobs"]]
        assert (job in listed) == (status == 200)


def test_a_full_queue_says_when_to_try_again(served) -> None:
    client, _ = served
    sent = [post(client, f"slow{number}", "steps") for number in range(4)]
    assert [reply.status_code for reply in sent] == [202, 202, 202, 429]
    assert int(sent[-1].headers["retry-after"]) >= 1
    assert sent[-1].json()["detail"]["code"] == "busy"
    for reply in sent[:3]:
        client.delete(f"/jobs/{reply.json()['id']}")


@pytest.mark.parametrize(
    "body",
    [
        {"model": "fake", "image": "a", "unknown": 1},
        {"image": "a"},
        {"model": "fake", "image": ["a"]},
        {"model": "fake", "image": "a", "params": "text"},
        {"model": "fake", "image": "a", "params": {"save_label": True}},
        {"model": "fake", "image": "a", "params": {"_progress": 1}},
        {"model": "fake", "image": "x" * 300},
    ],
)
def test_wrong_bodies_are_refused(served, body) -> None:
    client, runner = served
    before = runner.requests.computed()
    assert client.post("/jobs", json=body).status_code == 422
    assert runner.requests.computed() == before


def test_no_job_on_the_session_of_another_user(served) -> None:
    client, runner = served
    body = {"model": "fake", "session_id": "anna-1"}
    assert client.post("/jobs", json=body, headers={"x-test-name": "bert"}).status_code == 410
    own = client.post("/jobs", json=body)
    assert own.status_code == 202
    wait_for(runner, own.json()["id"], "done")


def test_a_session_is_held_until_its_job_has_ended(served, held) -> None:
    client, runner = served
    blocking = post(client, "blocking", "steps").json()["id"]
    waiting = client.post("/jobs", json={"model": "fake", "session_id": "anna-2"}).json()["id"]
    assert held == ["anna-2"]
    client.delete(f"/jobs/{blocking}")
    wait_for(runner, waiting, "done")
    await_that(lambda: not held)
    refused = client.post("/jobs", json={"model": "fake", "session_id": "anna-2", "params": {"no_such_key": 1}})
    assert (refused.status_code, held) == (422, []), "no hold is left where there is no job"


@pytest.mark.parametrize("identifier", ["0" * 32, "none", "..%2f..", "%00", "' OR 1=1"])
def test_unknown_jobs(served, identifier: str) -> None:
    client, _ = served
    assert client.get(f"/jobs/{identifier}").status_code == 404
    assert client.delete(f"/jobs/{identifier}").status_code == 404


def test_other_requests_are_answered_while_the_worker_computes(served) -> None:
    client, runner = served
    job = post(client, "endless", "steps").json()["id"]
    wait_for_stage(runner, job)
    # How fast is measured by benchmarks/server_load.py.
    for path in ("/healthz", "/jobs", f"/jobs/{job}"):
        assert client.get(path).status_code == 200
    assert post(client, "next").status_code == 202
    assert runner.job(job, ADMIN).state == "running"
    client.delete(f"/jobs/{job}")
    wait_for(runner, job, "cancelled")
