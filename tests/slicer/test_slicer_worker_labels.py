"""Orders about studies, labels and training, where the server does what no server should, or goes away midway."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worker_process import raw_volume, run, scripted_server

refusal, reply, reset = scripted_server.refusal, scripted_server.reply, scripted_server.reset
VERSIONS, SAVE = "/datastore/label/versions?label=one&tag=final", "/datastore/label?image=one&tag=final"
SAY, INFO = "/datastore/study-label?image=one", "/datastore/image/info?image=one"
MASK = b"NRRD0005\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n\n" + bytes(8)
STUDY_LABEL = {"study_class": "covid", "certainty": "certain", "comment": ""}


def version(number: int, author: str, sha256: str) -> dict[str, Any]:
    return {"number": number, "author": author, "created": "2025-01-01T00:00:00Z", "removed": False, "sha256": sha256}


@pytest.fixture
def server() -> Iterator[scripted_server.Server]:
    with scripted_server.running() as running:
        yield running


@pytest.fixture
def ask(server, tmp_path: Path) -> Any:
    (tmp_path / "mask.nrrd").write_bytes(MASK)

    def ask(kind: str, **fields: Any) -> dict[str, Any]:
        where = {"url": server.url, "token": scripted_server.TOKEN, "read_timeout": 20}
        event = run({"kind": kind, "server": where, "folder": str(tmp_path), **fields})
        assert {path.name for path in tmp_path.iterdir()} <= {"mask.nrrd", "volume.raw"}, "nothing is left over"
        return event

    return ask


def submit(ask: Any, tmp_path: Path, **fields: Any) -> dict[str, Any]:
    return ask("submit", **{"image": "one", "mask": str(tmp_path / "mask.nrrd"), **fields})


def name_of(volume: dict[str, Any]) -> str:
    volumes, order = (importlib.import_module(f"CovidBertLib.orders.{name}") for name in ("volumes", "order"))
    sha256 = volumes.content_hash(volumes.read_volume(order.Order(volume)), lambda _: None, lambda: False)
    return f"ct-{sha256[:32]}"


@pytest.mark.parametrize("did_arrive", [True, False])
def test_mask_is_not_sent_twice_where_the_answer_is_lost(server, ask, tmp_path, did_arrive: bool) -> None:
    def saved(handler: Any) -> None:
        (sent,) = [request.body for request in server.requests if request.path == SAVE]
        content = sent[sent.index(b"NRRD0005") : sent.rindex(b"\r\n--")]
        digest = hashlib.sha256(content).hexdigest() if did_arrive else "of another mask"
        reply(200, {"versions": [version(6, "ben", "00"), version(7, "anna", digest)]})(handler)

    server.script.update({SAVE: [reset], VERSIONS: [saved]})
    event = submit(ask, tmp_path)
    assert server.paths() == ["/version", SAVE, VERSIONS]
    if did_arrive:
        assert (event["result"]["version"], event["result"]["author"]) == (7, "anna")
    else:
        assert (event["code"], event["kept"]) == ("connection-lost", {"image": "one"})


def test_mask_that_is_saved_stays_so_whatever_follows(server, ask, tmp_path) -> None:
    server.script.update({SAVE: [reply(200, {})], VERSIONS: [reset], SAY: [refusal(500, "internal")]})
    assert submit(ask, tmp_path)["result"] == {
        **{"image": "one", "version": None, "author": None, "study_label_version": None}
    }
    event = submit(ask, tmp_path, study_label=STUDY_LABEL)
    assert (event["event"], event["code"], event["kept"]) == ("failed", "internal", {"image": "one", "version": None})
    assert event["message"].startswith("The mask was saved, but not what you say about the study.")


def test_study_that_the_server_has_in_another_packing_is_used(server, ask, tmp_path) -> None:
    volume = raw_volume(tmp_path / "volume.raw", np.zeros((8, 8, 8)))

    image = name_of(volume)
    server.script[f"/datastore/image?image={image}"] = [refusal(409, "conflict")]
    server.script[f"/datastore/label?image={image}&tag=final"] = [reply(200, {})]
    server.script[f"/datastore/label/versions?label={image}&tag=final"] = [reply(200, {"versions": []})]
    assert submit(ask, tmp_path, image=None, volume=volume)["result"]["image"] == image
    assert f"/datastore/image?image={image}" in server.paths()


@pytest.mark.parametrize(("code", "status"), [("not-allowed", 403), ("bad-geometry", 422), ("disk-full", 507)])
def test_refusal_of_a_mask_is_handed_on(server, ask, tmp_path, code: str, status: int) -> None:
    server.script[SAVE] = [refusal(status, code)]
    event = submit(ask, tmp_path)
    assert (event["code"], event["message"], event["hint"]) == (code, f"It is {code}.", "Do this.")


def test_study_that_is_no_file_is_handed_out_without_one(server, ask) -> None:
    server.script["/activelearning/first"] = [reply(200, {"id": "one"})]
    server.script[INFO] = [reply(200, {"name": "folder"})]
    assert ask("next", strategy="first")["result"] == {"image": "one", "note": "", "file": None, "strategy": "first"}
    assert ask("next", strategy="first", fetch=False)["result"]["file"] is None
    assert server.paths().count(INFO) == 1
    assert ask("fetch", image="one")["code"] == "study-in-parts"
    assert ask("fetch", image="../one")["code"] == "bad-request"


def test_training_where_the_server_offers_it(server, ask) -> None:
    server.script["/info/"] = [reply(200, {"trainers": {"lungs": {}}})]
    server.script["/train/"] = [refusal(404, "not-found")]
    server.script["/train/lungs"] = [reply(200, {"id": "1", "status": "RUNNING"})]
    assert ask("train_status")["result"] == {"status": None}
    assert ask("train_stop")["code"] == "not-running"
    assert ask("train_start", model="lungs", params={"epochs": 2})["result"]["status"]["status"] == "RUNNING"
    assert ask("train_start", model="other")["code"] == "not-offered"
    server.script["/info/"] = [reply(200, {"trainers": {}})]
    assert ask("train_status")["code"] == "not-offered"


def test_check_tells_a_server_that_is_not_ready(server, ask) -> None:
    server.script.update(
        {
            "/readyz": [refusal(503, "not-ready", {"Retry-After": "10"})],
            "/auth/token/valid": [reply(200, {"username": "anna", "roles": ["reader"]})],
            "/info/": [reply(200, {"models": {}, "strategies": {}, "trainers": {}})],
        }
    )
    result = ask("check")["result"]
    assert (result["ready"], result["reason"], result["hint"]) == (False, "It is not-ready.", "Do this.")
    server.script["/info/"] = [refusal(429, "busy", {"Retry-After": "7"})]
    event = ask("check")
    assert (event["code"], event["retry_after"]) == ("busy", 7.0), "a test is not tried again"
