"""The routes of the datastore: MONAI Label's contract, typed errors, and the author from the token."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from covid_bert.retraining.derived import label_cache, marked
from covid_bert.server.access import Role
from covid_bert.server.authentication import Caller
from needed import require_module

SHAPE, AFFINE = (24, 20, 12), np.diag([-2.0, -2.0, 5.0, 1.0])


def image_bytes(folder: Path, seed: int) -> bytes:
    values = np.random.default_rng(seed).integers(-1000, 400, SHAPE).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), folder / "made.nii.gz")
    return (folder / "made.nii.gz").read_bytes()


def mask_bytes(folder: Path, value: int = 1, shape: tuple[int, int, int] = SHAPE) -> bytes:
    nibabel.save(nibabel.Nifti1Image(np.full(shape, value, np.uint8), AFFINE), folder / "made.nii.gz")
    return (folder / "made.nii.gz").read_bytes()


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    folder = tmp_path / "studies"
    folder.mkdir()
    (folder / "chest.nii.gz").write_bytes(image_bytes(tmp_path, 0))
    return folder


@pytest.fixture
def client(studies: Path) -> TestClient:
    return serving(studies)


def serving(studies: Path, **options: object) -> TestClient:
    require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")
    from covid_bert.datastore.store import StudyDatastore
    from covid_bert.server import failures
    from covid_bert.server.datastore_routes import install
    from covid_bert.server.whole_studies import WholeStudies

    app = FastAPI()
    failures.install(app)

    @app.middleware("http")
    async def _caller(request: Request, call_next):
        request.state.caller = Caller(request.headers.get("x-test-name", "anna"), Role.ADMIN)
        return await call_next(request)

    store = StudyDatastore(str(studies))
    opened = SimpleNamespace(datastore=lambda: store, on_save_label=lambda *_: None)
    install(app, opened, WholeStudies(10**7), **options)
    return TestClient(app, raise_server_exceptions=False)


def save(client: TestClient, content: bytes, name: str = "anna", query: str = "image=chest", params: str = "{}"):
    sent = {"label": ("Meier Anna.nii.gz", content)}
    return client.put(f"/datastore/label?{query}", files=sent, data={"params": params}, headers={"x-test-name": name})


def test_the_author_is_who_holds_the_token(client: TestClient, tmp_path: Path) -> None:
    reply = save(client, mask_bytes(tmp_path), "bert", params='{"user": "anna", "author": "anna", "label_info": []}')
    assert reply.json() == {"image": "chest", "label": "chest"}
    save(client, mask_bytes(tmp_path, 2), "anna")
    versions = client.get("/datastore/label/versions?label=chest&tag=final").json()["versions"]
    assert [version["author"] for version in versions] == ["bert", "anna"]
    first = client.get("/datastore/label/version?label=chest&tag=final&version=1").content
    assert hashlib.sha256(first).hexdigest() == versions[0]["sha256"]
    newest = client.get("/datastore/label?label=chest&tag=final")
    assert hashlib.sha256(newest.content).hexdigest() == versions[1]["sha256"]
    assert 'filename="chest.nii.gz"' in newest.headers["content-disposition"]
    assert client.get("/datastore/label/info?label=chest&tag=final").json()["author"] == "anna"


def test_a_mask_that_does_not_fit_is_a_typed_error(client: TestClient, tmp_path: Path) -> None:
    reply = save(client, mask_bytes(tmp_path, shape=(23, 20, 12)))
    assert reply.status_code == 422
    assert reply.json()["detail"]["code"] == "bad-geometry"
    assert "size" in reply.json()["detail"]["message"]
    assert save(client, b"").status_code == 415
    for query in ("image=chest&tag=../x", "image=chest&tag=study"):
        assert save(client, mask_bytes(tmp_path), query=query).status_code == 422
    assert save(client, mask_bytes(tmp_path), query="image=nobody").status_code == 404
    for params in ("[]", "5", "{", "[" * 100_000, '{"x": NaN}'):
        assert save(client, mask_bytes(tmp_path), params=params).status_code == 422


@pytest.mark.parametrize(
    "path", ["dataset?limit_cases=0", "dataset?limit_cases=-1", "label/version?label=chest&tag=final&version=0"]
)
def test_numbers_have_bounds(client: TestClient, tmp_path: Path, path: str) -> None:
    save(client, mask_bytes(tmp_path))
    assert client.get(f"/datastore/{path}").status_code == 422


def test_a_removed_study_takes_with_it_what_was_derived(studies: Path) -> None:
    derived = label_cache(studies) / "consensus" / marked(studies / "chest.nii.gz", "mask.nii.gz")
    derived.parent.mkdir(parents=True)
    derived.write_bytes(b"mask of a patient")
    told: list[bool] = []
    client = serving(studies, on_remove=lambda: told.append(derived.exists()))
    assert client.delete("/datastore/image?id=nobody").status_code == 404
    assert (told, derived.exists()) == ([], True)
    assert client.delete("/datastore/image?id=chest").status_code == 200
    assert told == [False]


def test_images_are_added_once(client: TestClient, tmp_path: Path, studies: Path) -> None:
    def add(name: str, content: bytes, query: str = ""):
        return client.put(f"/datastore/image{query}", files={"file": (name, content)})

    content = image_bytes(tmp_path, 1)
    assert add("1.2.840.1.nii.gz", content).json() == {"image": "1.2.840.1"}
    assert add("other.nii.gz", content, "?image=other").json() == {"image": "1.2.840.1"}
    assert add("x.nii.gz", image_bytes(tmp_path, 2), "?image=chest").status_code == 409
    assert add("x.nii.gz", image_bytes(tmp_path, 2), "?image=../x").status_code == 422
    assert add("x.exe", content).status_code == 415
    assert add("../../x.nii.gz", image_bytes(tmp_path, 3)).status_code == 200
    assert {path.parent for path in studies.parent.rglob("x.nii.gz")} == {studies}
    info = client.get("/datastore/image/info?image=1.2.840.1").json()
    assert info["user"] == "anna"
    digest = hashlib.sha256(content).hexdigest()
    for check_sum, status in ((f"SHA256:{digest}", 200), (digest, 200), ("SHA256:0", 404), ("CRC:0", 422)):
        assert client.head(f"/datastore/image?image=1.2.840.1&check_sum={check_sum}").status_code == status
    assert client.get("/datastore/image?image=1.2.840.1").content == content


def test_lists_in_monailabels_form(client: TestClient, tmp_path: Path, studies: Path) -> None:
    save(client, mask_bytes(tmp_path))
    assert client.get("/datastore/").json() == {"total": 1, "completed": 1, "label_tags": {"final": 1}}
    everything = client.get("/datastore/?output=all").json()
    assert set(everything) == {"name", "description", "images_dir", "labels_dir", "objects"}
    assert everything["objects"]["chest"]["labels"]["final"]["ext"] == ".nii.gz"
    (pair,) = client.get("/datastore/?output=train").json()
    assert pair == {"image": "chest.nii.gz", "label": "labels/final/chest.nii.gz"}
    assert "path" not in client.get("/datastore/image/info?image=chest").json()
    assert str(studies.parent) not in client.get("/datastore/image/info?image=chest").text
    assert client.head("/datastore/label?image=chest&tag=final").status_code == 200


def test_study_labels(client: TestClient) -> None:
    path = "/datastore/study-label?image=chest"
    assert client.get(path).status_code == 404
    sent = {"study_class": "covid", "certainty": "probable", "comment": "both bases"}
    reply = client.put(path, json=sent, headers={"x-test-name": "bert"})
    assert reply.json()["version"]["author"] == "bert"
    assert client.get(path).json()["label"] == sent
    for wrong in ({}, {**sent, "study_class": "flu"}, {**sent, "more": 1}, {**sent, "comment": "x" * 2001}):
        assert client.put(path, json=wrong).status_code == 422
    assert client.get("/datastore/").json()["completed"] == 0


def test_removing(client: TestClient, tmp_path: Path, studies: Path) -> None:
    save(client, mask_bytes(tmp_path))
    assert client.delete("/datastore/label?id=chest&tag=final").json() == {}
    assert client.delete("/datastore/label?id=chest&tag=final").status_code == 404
    assert client.delete("/datastore/image?id=chest").json() == {}
    assert not list(studies.rglob("chest*"))


@pytest.mark.parametrize(
    "path",
    [
        *("image?image=nobody", "image?image=..%2F..%2Fetc%2Fpasswd", "image/info?image=nobody", "image?image=a%00b"),
        *("label?label=chest&tag=final", "label/info?label=chest&tag=x", "label/versions?label=chest&tag=x"),
        *("label/versions?label=..&tag=final", "label/version?label=chest&tag=final&version=1", "dataset"),
        *("study-label?image=nobody", "label?label=chest&tag=..%2Ffinal"),
    ],
)
def test_what_is_not_there_is_404(client: TestClient, path: str) -> None:
    reply = client.get(f"/datastore/{path}")
    assert reply.status_code == 404
    assert set(reply.json()["detail"]) == {"code", "message", "hint", "request_id"}


def test_the_data_set_is_one_zip_that_does_not_stay(client: TestClient, tmp_path: Path, monkeypatch) -> None:
    save(client, mask_bytes(tmp_path))
    made = tmp_path / "temporary"
    made.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(made))
    (tmp_path / "got.zip").write_bytes(client.get("/datastore/dataset").content)
    import zipfile

    with zipfile.ZipFile(tmp_path / "got.zip") as archive:
        assert set(archive.namelist()) == {"image/chest.nii.gz", "label/chest.nii.gz", "metadata.json"}
        assert "chest" in json.loads(archive.read("metadata.json"))["objects"]
    assert list(made.iterdir()) == []


@pytest.mark.parametrize(("wanted", "status"), [("bytes=0-3", 206), ("bytes=999999999-", 416), ("lines=1-2", 400)])
def test_nor_does_it_where_a_part_of_it_is_asked_for(
    client: TestClient, tmp_path: Path, monkeypatch, wanted: str, status: int
) -> None:
    save(client, mask_bytes(tmp_path))
    made = tmp_path / "temporary"
    made.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(made))
    assert client.get("/datastore/dataset", headers={"Range": wanted}).status_code == status
    assert list(made.iterdir()) == []


def test_uploads_do_not_stay_after_success_or_failure(client: TestClient, tmp_path: Path, monkeypatch) -> None:
    made = tmp_path / "temporary"
    made.mkdir()
    contents = mask_bytes(tmp_path), mask_bytes(tmp_path, shape=(9, 9, 9))
    monkeypatch.setattr("tempfile.tempdir", str(made))
    assert [save(client, content).status_code for content in contents] == [200, 422]
    assert list(made.iterdir()) == []
