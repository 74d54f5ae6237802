"""A live server with stock clients: monailabel.client, and the client of MONAI Label's own Slicer module."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
import time
from pathlib import Path

import jsonschema
import nibabel
import numpy as np
import pytest
import requests

from covid_bert.volumes import read, read_mask

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture
def client(server, tmp_path):
    from monailabel.client import MONAILabelClient

    return MONAILabelClient(server.url, tmpdir=str(tmp_path))


@pytest.fixture
def slicer_client(server, tmp_path):
    """The client that MONAI Label's Slicer module carries; installed with the package, beside its sample apps."""
    path = Path(sys.prefix) / "monailabel/plugins/slicer/MONAILabel/MONAILabelLib/client.py"
    if not path.exists():
        pytest.fail(f"MONAI Label's Slicer module is not where its package puts it: {path.name}")
    spec = importlib.util.spec_from_file_location("slicer_module_client", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.MONAILabelClient(server.url, tmpdir=str(tmp_path))


def test_stock_client_sees_the_app(client) -> None:
    info = client.info()
    assert info["name"] == "covid-bert"
    assert {"lungs", "lesions", "covid_s1", "covid_s2", "covid_baseline", "lungs_and_covid"} <= set(info["models"])
    assert set(client.datastore()["objects"]) == {"lung_dx_a0001", "zipped", "lung1", "broken"}


def test_real_dicom_study_is_segmented_and_classified(client, server, repository) -> None:
    image, parameters = client.infer(model="lungs", image_id="lung_dx_a0001", params={})
    volume = read(server.studies / "lung_dx_a0001")
    mask = read_mask(Path(image), volume)
    columns = [np.flatnonzero((mask == side).any((0, 1))).mean() for side in (1, 2)]
    assert columns[0] < columns[1], "the patient's right lung has the smaller columns"
    assert 4000 < parameters["lung_volume_ml"]["total"] < 8000
    again, reply = client.infer(model="covid_s1", image_id="zipped", params={})
    assert np.array_equal(read_mask(Path(again), volume), mask), "a classification comes with the mask it used"
    schema = json.loads((repository / "docs" / "result.schema.json").read_text())
    jsonschema.validate(reply["result"], schema)
    assert reply["result"]["weights_state"] == "demonstration"
    assert reply["result"]["study"]["identifier"] == volume.identifier, "folder and zip are one study"


def test_slicer_modules_client_segments_submits_and_goes_on(slicer_client, server, tmp_path) -> None:
    info = slicer_client.info()
    segmentation = [name for name, model in info["models"].items() if model["type"] == "segmentation"]
    assert set(segmentation) == {"lungs", "lesions", "lungs_and_covid"}
    sample = slicer_client.next_sample("first", {})
    assert sample["id"] in {"lung_dx_a0001", "zipped", "lung1", "broken"}
    assert str(server.studies) not in str(sample)
    # Exactly what the module's logic adds to a request.
    parameters = {"result_extension": ".nrrd", "result_dtype": "uint8"}
    image, reply = slicer_client.infer("lungs_and_covid", "lung1", parameters)
    assert image.endswith(".nrrd")
    mask = read_mask(Path(image), read(server.studies / "lung1.nrrd"))
    assert set(np.unique(mask)) == {0, 1, 2}
    assert {item["label"] for item in reply["prediction"]} == {"covid", "non-covid"}
    saved = slicer_client.save_label("lung1", image, "final", {"label_info": []})
    assert saved["label"] == "lung1"
    assert "lung1" not in {slicer_client.next_sample("first", {})["id"]}


def test_slicer_modules_client_takes_a_classification_too(slicer_client) -> None:
    image, reply = slicer_client.infer("covid_baseline", "lung1", {})
    assert nibabel.load(image) is not None
    assert reply["prediction"]


def test_session_upload_as_the_slicer_module_does_it(slicer_client, server) -> None:
    created = slicer_client.create_session(str(server.studies / "lung1.nrrd"))
    image, _ = slicer_client.infer("lungs", "", {"result_extension": ".nrrd"}, session_id=created["session_id"])
    assert read_mask(Path(image), read(server.studies / "lung1.nrrd")).any()
    slicer_client.remove_session(created["session_id"])


def test_uploads_are_gone_after_success_and_after_failure(server, client) -> None:
    assert server.temporary.stat().st_mode & 0o777 == 0o700
    client.infer(model="lungs", image_id="", params={}, file=str(server.studies / "lung1.nrrd"))
    for name, content in (("single.dcm", b"nothing"), ("nosuffix", b"x" * 1000), ("cut.nii.gz", b"\x1f\x8b")):
        files = {"params": (None, "{}"), "file": (name, content)}
        assert requests.post(f"{server.url}/infer/lungs", files=files, timeout=60).status_code == 415
    left = [path for path in server.temporary.rglob("*") if path.is_file() and "sessions" not in path.parts]
    assert [path.name for path in left] == ["lock"], "the server's own"


def jobs(server) -> dict[str, str]:
    """The states of all jobs."""
    listed = requests.get(f"{server.url}/jobs", timeout=120).json()["jobs"]
    return {job["id"]: job["state"] for job in listed}


@pytest.mark.parametrize(
    ("query", "params"),
    [
        ("image=lung1", "not json"),
        ("image=lung1", "[1, 2]"),
        ("image=lung1", "5"),
        ("image=lung1", "[" * 100_000),
        ("", "{}"),
        ("image=lung1&output=image", '{"reply_image": "none"}'),
        ("image=lung1&output=dicom_seg", "{}"),
        ("image=lung1", '{"device": "abacus"}'),
        ("image=lung1", '{"save_label": true, "label_tag": 5}'),
        ("image=lung1", '{"model": [1]}'),
        (f"image={'x' * 3000}", "{}"),
        ("image=lung1", '{"image": "/etc/hosts"}'),
    ],
)
def test_wrong_requests_are_answered_before_anything_is_computed(server, query: str, params: str) -> None:
    before = jobs(server)
    reply = requests.post(f"{server.url}/infer/covid_s1?{query}", files={"params": (None, params)}, timeout=60)
    assert reply.status_code in {404, 422}
    assert reply.json()["detail"]["hint"]
    assert jobs(server) == before


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("infer/lungs?image=nobody", 404, "not-found"),
        ("infer/lungs?image=broken", 415, "unreadable-file"),
        ("infer/nothing?image=lung1", 404, "not-found"),
    ],
)
def test_errors_are_typed(server, path: str, status: int, code: str) -> None:
    reply = requests.post(f"{server.url}/{path}", files={"params": (None, "{}")}, timeout=60)
    assert reply.status_code == status
    detail = reply.json()["detail"]
    assert detail["code"] == code
    assert detail["message"]
    assert detail["hint"]


def test_json_alone_on_request(server) -> None:
    query = "infer/covid_baseline?image=lung1&output=json"
    reply = requests.post(f"{server.url}/{query}", files={"params": (None, '{"reply_image": "none"}')}, timeout=120)
    assert reply.status_code == 200
    assert {item["label"] for item in reply.json()["prediction"]} == {"covid", "non-covid"}


def test_health_names_the_version(server) -> None:
    reply = requests.get(f"{server.url}/healthz", timeout=10)
    assert reply.json()["status"] == "ok"
    assert "Research use only" in reply.json()["notice"]


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Origin": "null"}])
def test_web_pages_of_other_sites_may_not_call_the_server(server, headers) -> None:
    for method, path in (("GET", "info/"), ("POST", "infer/lungs?image=lung1"), ("PUT", "datastore/?image=x")):
        reply = requests.request(method, f"{server.url}/{path}", headers=headers, timeout=30)
        assert reply.status_code == 403
        assert reply.json()["detail"]["hint"]
    assert requests.get(f"{server.url}/info/", headers={"Origin": server.url}, timeout=30).status_code == 200


def test_other_requests_are_answered_while_a_study_is_classified(server, client) -> None:
    finished = []
    thread = threading.Thread(
        target=lambda: finished.append(client.infer(model="covid_s2", image_id="lung1", params={})[1])
    )
    thread.start()
    answers = 0
    while thread.is_alive():
        computed = "running" in jobs(server).values()
        assert requests.get(f"{server.url}/healthz", timeout=120).status_code == 200
        answers += computed and not finished
        time.sleep(0.05)
    thread.join()
    assert finished[0]["result"]["provenance"]["system"] == "s2"
    assert answers > 0


def test_studies_asked_for_together_are_all_answered(server, tmp_path) -> None:
    from monailabel.client import MONAILabelClient

    replies = []

    def ask() -> None:
        own = MONAILabelClient(server.url, tmpdir=str(tmp_path))
        replies.append(own.infer(model="covid_baseline", image_id="lung1", params={})[1]["result"]["class_scores"])

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert replies == [replies[0]] * 3


def test_batch_inference_runs_in_the_background_and_keeps_its_labels(server) -> None:
    sent = requests.post(f"{server.url}/batch/infer/lungs", json={"images": ["lung1", "broken"]}, timeout=30)
    assert sent.status_code == 200
    deadline = time.monotonic() + 150
    while (status := requests.get(f"{server.url}/batch/infer", timeout=30).json()["status"]) != "DONE":
        assert status in {"SUBMITTED", "PENDING", "RUNNING"}, server.log.read_text()[-2000:]
        assert time.monotonic() < deadline, status
        time.sleep(1)
    (kept,) = (server.studies / "labels" / "original").glob("lung1*")
    assert kept.stat().st_mode & 0o077 == 0, "for the server's user only"


def test_label_tags_from_clients_cannot_leave_the_studies(server) -> None:
    files = {"params": (None, "{}"), "label": ("l.nrrd", b"x")}
    url = f"{server.url}/datastore/label?image=lung1&tag=../../evil"
    assert requests.put(url, files=files, timeout=30).status_code == 422
    assert not (server.studies.parent / "evil").exists()


def test_log_names_no_study(server, client) -> None:
    client.infer(model="lungs", image_id="lung1", params={})
    assert "lung1" not in server.log.read_text()
