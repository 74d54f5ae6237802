"""Studies, labels, users and training: the routes as the server has them, and answers that no server should give."""

from __future__ import annotations

import json

import pytest
from scripted_server import JOB_ID, TOKEN, job, refusal, reply

from covid_bert.client import (
    BusyError,
    Client,
    ClientError,
    ConflictError,
    InvalidAnswerError,
    InvalidRequestError,
    LabelMark,
    LabelVersion,
    NextStudy,
    NotFoundError,
    Readiness,
    Study,
    StudyLabel,
    User,
)
from covid_bert.client.jobs import read_job

MARK = {"author": "anna", "ts": 1700000000, "version": 3, "name": "Meier.nii.gz"}
LISTING = {
    "objects": {
        "one": {"image": {"ext": ".nii.gz", "info": {}}, "labels": {"final": {"info": MARK}, "study": {"info": {}}}},
        "two": {"image": {"ext": "", "info": {}}, "labels": {}},
        "../three": {"image": {"ext": "", "info": {}}, "labels": {}},
    }
}
VERSION = {
    "number": 2,
    "author": "anna",
    "created": "2025-01-01T00:00:00Z",
    "removed": False,
    "sha256": "ab",
    "info": {},
}
VERSIONS = "/datastore/label/versions?label=one&tag=final"
LABEL = {"study_class": "covid", "certainty": "probable", "comment": "both bases"}


def test_studies_and_who_labelled_them(server, client) -> None:
    server.script["/datastore/?output=all"] = [reply(200, LISTING)]
    assert client.studies() == [
        Study("one", ".nii.gz", {"final": LabelMark("anna", 1700000000.0, 3), "study": LabelMark("", None, None)}),
        Study("two", "", {}),
    ]


def test_study_is_added_under_a_chosen_id(server, client, tmp_path) -> None:
    path = tmp_path / "Meier^Hans.nrrd"
    path.write_bytes(b"voxels")
    server.script["/datastore/image?image=ct-1"] = [reply(200, {"image": "known"}), refusal(409, "conflict")]
    fractions: list[float] = []
    assert client.add_study(path, "ct-1", on_progress=fractions.append) == "known"
    request = server.requests[-1]
    assert (request.method, fractions) == ("PUT", [1.0])
    assert b'name="file"; filename="study.nrrd"' in request.body
    assert b"Meier" not in request.body
    with pytest.raises(ConflictError):
        client.add_study(path, "ct-1")


def test_study_is_fetched_under_our_own_name(server, client, tmp_path) -> None:
    info = "/datastore/image/info?image=one"
    server.script[info] = [reply(200, {"name": "../../Meier.nii.gz"})]
    server.script["/datastore/image?image=one"] = [reply(200, b"voxels")]
    assert client.fetch_study("one", tmp_path) == tmp_path / "study.nii.gz"
    assert (tmp_path / "study.nii.gz").read_bytes() == b"voxels"
    for name in ("folder-of-dicom", "voxels-elsewhere.nhdr", 5, None):
        server.script[info] = [reply(200, {"name": name})]
        with pytest.raises(InvalidRequestError) as caught:
            client.fetch_study("one", tmp_path)
        assert caught.value.code == "study-in-parts"


def test_next_study(server, client) -> None:
    server.script["/activelearning/first"] = [
        reply(200, {"id": "one", "name": "x", "strategy_note": "No scores."}),
        reply(200, {}),
    ]
    assert [client.next_study("first"), client.next_study("first")] == [NextStudy("one", "No scores."), None]
    assert json.loads(server.requests[-1].body) == {}


def test_mask_is_saved_and_its_versions_listed(server, client, tmp_path) -> None:
    path = tmp_path / "Meier.nrrd"
    path.write_bytes(b"mask")
    server.script["/datastore/label?image=one&tag=final"] = [reply(200, {"image": "one", "label": "one"})]
    server.script[VERSIONS] = [reply(200, {"versions": [VERSION]})]
    client.save_label("one", path)
    assert b'name="label"; filename="label.nrrd"' in server.requests[-1].body
    assert client.label_versions("one") == [LabelVersion(2, "anna", "2025-01-01T00:00:00Z", False, "ab")]


def test_study_label(server, client) -> None:
    route = "/datastore/study-label?image=one"
    server.script[route] = [reply(200, {"label": LABEL, "version": VERSION}), refusal(404, "not-found")]
    label, version = client.study_label("one")
    assert (label, version.number) == (StudyLabel(**LABEL), 2)
    assert client.study_label("one") is None
    server.script[route] = [reply(200, {"label": LABEL, "version": VERSION})]
    assert client.save_study_label("one", label).number == 2
    assert (server.requests[-1].method, json.loads(server.requests[-1].body)) == ("PUT", LABEL)


def test_whose_token_it_is(server, client) -> None:
    server.script["/auth/token/valid"] = [reply(200, {"username": "anna", "roles": ["reader", 5]})]
    assert client.user() == User("anna", ("reader",))


def test_why_it_is_not_ready(server, client) -> None:
    server.script["/readyz"] = [refusal(503, "not-ready", {"Retry-After": "10"}), reply(200, {"status": "ready"})]
    assert client.readiness() == Readiness(False, "It is not-ready.", "Do this.")
    assert client.readiness() == Readiness(True, "", "")
    assert all("Authorization" not in request.headers for request in server.requests)


def test_training_is_started_followed_and_stopped(server, client) -> None:
    server.script["/train/"] = [reply(200, {"status": "RUNNING", "details": [f"key {TOKEN}\n"]}), refusal(404, "none")]
    assert client.training() == {"status": "RUNNING", "details": ["key ***"]}
    assert client.training() is None
    server.script["/train/lungs"] = [reply(200, {"id": "1"}), refusal(429, "busy", {"Retry-After": "600"})]
    assert client.start_training("lungs", {"epochs": 3}) == {"id": "1"}
    assert json.loads(server.requests[-1].body) == {"epochs": 3}
    with pytest.raises(BusyError):
        client.start_training("lungs")
    with pytest.raises(NotFoundError):
        client.stop_training()
    assert server.requests[-1].method == "DELETE"


def test_one_of_several_files_of_a_result(server, client, tmp_path) -> None:
    server.script[f"/jobs/{JOB_ID}/file?name=lesions"] = [reply(200, b"mask")]
    done = read_job(job("done"), None)
    assert client.download(done, tmp_path / "lesions.nrrd", name="lesions").read_bytes() == b"mask"
    with pytest.raises(InvalidRequestError):
        client.download(done, tmp_path / "lesions.nrrd", name="a&b=c")


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "a&tag=x", "a b", "é", "a" * 129, "a\n"])
def test_name_that_needs_quoting_is_never_sent(server, client, tmp_path, name: str) -> None:
    path = tmp_path / "mask.nrrd"
    path.write_bytes(b"mask")
    for ask in (
        lambda: client.add_study(path, name),
        lambda: client.fetch_study(name, tmp_path),
        lambda: client.save_label(name, path),
        lambda: client.save_label("one", path, name),
        lambda: client.label_versions(name),
        lambda: client.study_label(name),
        lambda: client.next_study(name),
        lambda: client.start_training(name),
    ):
        with pytest.raises(InvalidRequestError):
            ask()
    assert server.requests == []


@pytest.mark.parametrize(
    ("path", "answer", "ask"),
    [
        ("/datastore/?output=all", {"objects": []}, Client.studies),
        ("/datastore/?output=all", {"objects": {"one": 5}}, Client.studies),
        ("/datastore/?output=all", {"objects": {"one": {"image": {}, "labels": []}}}, Client.studies),
        ("/datastore/?output=all", {"objects": {"one": {"image": {"ext": 5}, "labels": {}}}}, Client.studies),
        ("/datastore/?output=all", {"objects": {"one": {"image": {}, "labels": {"final": 5}}}}, Client.studies),
        ("/auth/token/valid", {"username": "anna"}, Client.user),
        ("/auth/token/valid", {"username": 5, "roles": []}, Client.user),
        ("/activelearning/first", {"id": "../x"}, lambda client: client.next_study("first")),
        ("/activelearning/first", {"other": 1}, lambda client: client.next_study("first")),
        (VERSIONS, {}, lambda client: client.label_versions("one")),
        (
            "/datastore/label/versions?label=one&tag=final",
            {"versions": [5]},
            lambda client: client.label_versions("one"),
        ),
        ("/datastore/study-label?image=one", {"label": LABEL}, lambda client: client.study_label("one")),
        ("/datastore/study-label?image=one", {"version": VERSION}, lambda client: client.study_label("one")),
        ("/train/", [], Client.training),
    ],
)
def test_answers_that_are_none(server, client, path: str, answer: object, ask) -> None:
    server.script[path] = [reply(200, answer)]
    with pytest.raises(InvalidAnswerError) as caught:
        ask(client)
    assert isinstance(caught.value, ClientError)
    assert caught.value.hint
