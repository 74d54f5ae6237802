"""The worker and a real server: classify, correct, submit, worklist; roles, revoked tokens, cancel."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worker_process import Worker, raw_volume, run

from needed import REPOSITORY, require_module

pytestmark = [pytest.mark.server, pytest.mark.slow]
STUDY_LABEL = {"study_class": "covid", "certainty": "probable", "comment": "beide Basen, 30 µm"}


@dataclass
class Served:
    url: str
    tokens: Any
    secrets: dict[str, str]

    def order(self, kind: str, role: str = "annotator", folder: Path | None = None, **fields: Any) -> dict[str, Any]:
        server = {"url": self.url, "token": self.secrets.get(role), "ca_file": None}
        return {"kind": kind, "server": server, **({} if folder is None else {"folder": str(folder)}), **fields}

    def ask(self, kind: str, role: str = "annotator", folder: Path | None = None, **fields: Any) -> dict[str, Any]:
        event = run(self.order(kind, role, folder, **fields))
        return event["result"] if event["event"] == "done" else event


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")
    from covid_bert.server.access import Role
    from covid_bert.server.launch import running_server
    from covid_bert.server.tokens import TokenFile

    folder = tmp_path_factory.mktemp("served")
    (folder / "studies").mkdir()
    tokens = TokenFile(folder / "tokens.json")
    secrets = {role.value: tokens.add(f"{role.value}-anna", role) for role in Role}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COVID_BERT_HOME", str(folder / "home"))
        options = ["--tokens-file", str(tokens.path)]
        with running_server(folder / "studies", folder / "server.log", timeout=1800, options=options) as url:
            yield Served(url, tokens, {**secrets, "other": "not-a-token-of-the-server"})


@pytest.fixture(scope="module")
def chest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A real CT with every second row and column, which is enough here."""
    content = (REPOSITORY / "sample-data" / "lung1_image.nrrd").read_bytes()
    _, _, compressed = content.partition(b"\n\n")
    voxels = np.frombuffer(gzip.decompress(compressed), "<i2").reshape(48, 512, 512)[:, ::2, ::2]
    return raw_volume(tmp_path_factory.mktemp("chest") / "volume.raw", voxels, (2 * 0.5703125, 2 * 0.5703125, 5.0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "private"
    path.mkdir(mode=0o700)
    return path


def mask_of(path: str) -> tuple[dict[str, str], np.ndarray]:
    header, _, voxels = Path(path).read_bytes().partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in header.decode().splitlines() if ": " in line)
    values = np.frombuffer(gzip.decompress(voxels) if fields["encoding"] != "raw" else voxels, np.uint8)
    return fields, values


def test_check_says_what_the_server_is_and_who_the_user_is(served) -> None:
    found = served.ask("check")
    assert (found["ready"], found["reason"], found["user"]) == (True, "", "annotator-anna")
    assert found["roles"] == ["reader", "annotator"]
    assert {"lungs", "covid_s1", "covid_baseline"} <= set(found["models"])
    assert {"first", "random", "uncertainty", "mixed"} <= set(found["strategies"])
    assert {"lungs", "covid_s1", "covid_s2", "covid_baseline"} == set(found["trainers"])
    assert "Research use only" in found["research_use_only"]
    assert served.ask("check", "nobody")["code"] == "token-missing"
    assert served.ask("check", "other")["code"] == "token-refused"


def test_training_and_versions_are_seen_by_all_and_changed_by_the_administrator(served) -> None:
    assert served.ask("train_status", "reader") == {"status": None}
    assert served.ask("train_start", "annotator", model="lungs")["code"] == "not-allowed"
    assert served.ask("train_start", "admin", model="other")["code"] == "not-offered"
    assert served.ask("train_stop", "admin")["code"] == "not-running"
    models = {model["model"]: model for model in served.ask("weights", "reader")["models"]}
    assert set(models) == {"lungs", "covid_s1", "covid_s2", "covid_baseline"}
    live = models["lungs"]["live"]
    assert served.ask("weights_publish", "annotator", model="lungs", version=live)["code"] == "not-allowed"
    assert served.ask("weights_roll_back", "annotator", model="lungs")["code"] == "not-allowed"
    assert "code" in served.ask("weights_publish", "admin", model="lungs", version="v999")


def test_study_is_classified_uploaded_once_and_corrected(served, chest, folder, repository) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    order = {"folder": folder, "volume": chest, "model": "covid_baseline", "params": {}}
    done = served.ask("classify", "reader", wants=["lungs"], **order)
    schema = (repository / "docs" / "result.schema.json").read_text()
    jsonschema.validate(done["result"], json.loads(schema))
    fields, values = mask_of(done["files"]["lungs"])
    assert fields["sizes"] == "256 256 48"
    assert set(np.unique(values)) == {0, 1, 2}
    assert {path.name for path in folder.iterdir()} == {"lungs.nrrd"}

    kept = {"session_id": done["session_id"], "sha256": done["sha256"]}
    again = served.ask("classify", "reader", wants=[], **order, **kept)
    assert (again["reused_upload"], again["files"]) == (True, {})
    assert again["result"]["class_scores"] == done["result"]["class_scores"]
    assert served.ask("close_sessions", "reader", session_ids=[kept["session_id"], "gone"]) == {}
    stale = served.ask("classify", "reader", wants=[], **order, **kept)
    assert stale["reused_upload"] is False, "the server had it no longer"

    mask = done["files"]["lungs"]
    refused = served.ask("submit", "reader", folder, image=None, volume=chest, mask=mask)
    assert (refused["event"], refused["code"]) == ("failed", "not-allowed")
    first = served.ask("submit", "annotator", folder, image=None, volume=chest, mask=mask, study_label=STUDY_LABEL)
    assert (first["version"], first["author"], first["study_label_version"]) == (1, "annotator-anna", 1)
    assert first["image"] == f"ct-{done['sha256'][:32]}"
    second = served.ask("submit", "admin", folder, image=None, volume=chest, mask=mask)
    assert (second["image"], second["version"], second["author"]) == (first["image"], 2, "admin-anna")
    assert {path.name for path in folder.iterdir()} == {"lungs.nrrd"}
    check_what_was_saved(served, first["image"], folder)


def check_what_was_saved(served: Served, image: str, folder: Path) -> None:
    listed = served.ask("studies", "reader")
    (study,) = listed["studies"]
    assert (listed["total"], listed["labelled"], study["id"], study["suffix"]) == (1, 1, image, ".nrrd")
    assert (study["labels"]["final"]["author"], study["labels"]["final"]["version"]) == ("admin-anna", 2)
    assert study["study_label"]["author"] == "annotator-anna"
    said = served.ask("study_label_get", "reader", image=image)["study_label"]
    assert {name: said[name] for name in STUDY_LABEL} == STUDY_LABEL
    changed = {**STUDY_LABEL, "study_class": "normal"}
    assert served.ask("study_label_put", image=image, study_label=changed)["version"] == 2
    assert served.ask("study_label_get", image=image)["study_label"]["study_class"] == "normal"
    assert served.ask("study_label_get", image="nobody") == {"study_label": None}
    history = served.ask("versions", image=image)["versions"]
    assert [(version["number"], version["author"]) for version in history] == [(1, "annotator-anna"), (2, "admin-anna")]

    assert served.ask("next", strategy="first") == {"image": None, "note": "", "file": None, "strategy": "first"}
    fetched = served.ask("fetch", "reader", folder, image=image)
    assert Path(fetched["file"]).name == "study.nrrd"
    assert Path(fetched["file"]).stat().st_size > 1_000_000
    assert served.ask("fetch", "reader", folder, image="nobody")["code"] == "not-found"


def test_mask_of_another_grid_is_refused_with_the_reason(served, chest, folder) -> None:
    voxels = np.fromfile(chest["raw"], "<i2").reshape(48, 256, 256)[:, ::4, ::4]
    small = raw_volume(folder / "volume.raw", voxels)
    (folder / "mask.nrrd").write_bytes(
        b"NRRD0004\ntype: uint8\ndimension: 3\nspace: left-posterior-superior\nsizes: 64 64 47\n"
        b"space directions: (0.7,0,0) (0,0.7,0) (0,0,5)\nencoding: raw\nspace origin: (-100.5,-90,3)\n"
        b"PatientName:=Meier\n\n" + bytes(64 * 64 * 47)
    )
    event = served.ask("submit", folder=folder, image=None, volume=small, mask=str(folder / "mask.nrrd"))
    assert (event["event"], event["request_id"] is not None) == ("failed", True)
    assert "size" in event["message"]
    image = event["kept"]["image"]
    answer = served.ask("next", folder=folder, strategy="random")
    assert (answer["image"], Path(answer["file"]).name) == (image, "study.nrrd")


def test_token_that_is_revoked_while_the_server_computes(served, chest, folder) -> None:
    from covid_bert.server.access import Role

    served.secrets["short"] = served.tokens.add("for-a-while", Role.READER)
    worker = Worker(served.order("classify", "short", folder, volume=chest, model="covid_s1", params={}, wants=[]))
    worker.wait_for("uploading")
    served.tokens.revoke("for-a-while")
    assert worker.end()["code"] == "token-refused"


def test_cancel_ends_the_job_on_the_server(served, chest, folder) -> None:
    from covid_bert.client import Client

    order = {"volume": chest, "model": "covid_s2", "params": {}, "wants": []}
    worker = Worker(served.order("classify", "admin", folder, **order))
    worker.wait_for("waiting")
    client = Client(served.url, served.secrets["admin"])
    job = None
    while job is None:
        job = next((known for known in client.jobs() if known.model == "covid_s2"), None)
    worker.cancel()
    assert worker.end()["event"] == "cancelled"
    assert client.job(job.id).state == "cancelled"
