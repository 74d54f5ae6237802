"""A whole server: its log and audit log hold nothing of what was sent, of studies or of patients."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path

import pydicom
import pytest
import requests

from covid_bert.server.access import Role
from covid_bert.server.audit_check import verify_audit_log
from covid_bert.server.tokens import TokenFile
from needed import REPOSITORY, require_module

pytestmark = pytest.mark.server
MARKER = "MarkerDoeJane"
ALL = ("GET", "HEAD", "POST", "PUT", "DELETE")


def marked_series(count: int = 20) -> bytes:
    """A DICOM series whose names, tags and files all hold the marker."""
    packed = io.BytesIO()
    files = sorted(path for path in (REPOSITORY / "sample-data" / "lung_dx_a0001").iterdir() if path.is_file())
    with zipfile.ZipFile(packed, "w") as archive:
        for number, path in enumerate(files[:count]):
            dataset = pydicom.dcmread(path)
            dataset.PatientName = dataset.PatientID = dataset.SeriesDescription = dataset.InstitutionName = MARKER
            dataset.ImageComments = MARKER
            written = io.BytesIO()
            dataset.save_as(written)
            archive.writestr(f"{MARKER}/{MARKER}-{number}.dcm", written.getvalue())
    return packed.getvalue()


def test_a_marker_in_every_place_reaches_neither_log(tmp_path: Path) -> None:
    require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")
    from covid_bert.server.launch import running_server

    home = Path(os.environ["COVID_BERT_HOME"])
    secret = TokenFile(home / "tokens.json").add("anna", Role.ADMIN)
    studies = tmp_path / "studies"
    studies.mkdir()
    series = marked_series()
    (studies / f"{MARKER}.zip").write_bytes(series)
    (studies / f"{MARKER}-broken.nrrd").write_bytes(f"NRRD0004\n{MARKER}".encode())
    log = tmp_path / "server.log"
    headers = {
        "Authorization": f"Bearer {secret}",
        "User-Agent": MARKER,
        "Cookie": f"a={MARKER}",
        "X-Request-ID": MARKER,
    }
    with running_server(studies, log, timeout=900, options=("--log-format", "json")) as url:
        paths = requests.get(f"{url}/openapi.json", headers=headers, timeout=60).json()["paths"]
        for path in paths:
            name = path.replace("{", "\0").replace("}", "\0").split("\0")
            address = url + "".join(part if index % 2 == 0 else MARKER for index, part in enumerate(name))
            for method in ALL:
                for query in ("", f"?image={MARKER}&id={MARKER}&tag={MARKER}&label={MARKER}&{MARKER}={MARKER}"):
                    requests.request(method, address + query, headers=headers, data=MARKER, timeout=120)
        query = f"{url}/infer/lungs?image={MARKER}"
        for image in (MARKER, f"{MARKER}-broken"):
            requests.post(f"{url}/infer/lungs?image={image}", headers=headers, data={"params": "{}"}, timeout=300)
        requests.post(query, headers=headers, data={"params": json.dumps({MARKER: MARKER})}, timeout=60)
        uploads = ((f"{MARKER}.zip", series), (f"{MARKER}.nii.gz", MARKER.encode()), (f"{MARKER}.zip", series[:5000]))
        for upload in uploads:
            sent = {"file": upload}
            requests.put(f"{url}/datastore/", headers=headers, files=sent, timeout=60)
            requests.put(f"{url}/datastore/image?image=other", headers=headers, files=sent, timeout=60)
            requests.put(f"{url}/datastore/label?image={MARKER}", headers=headers, files={"label": upload}, timeout=60)
            requests.post(f"{url}/infer/lungs", headers=headers, files=sent, data={"params": "{}"}, timeout=300)
            opened = requests.put(f"{url}/session/", headers=headers, files={"files": upload}, timeout=60)
            if opened.ok:
                job = {"model": "lungs", "session_id": opened.json()["session_id"], "params": {}}
                requests.post(f"{url}/jobs", headers=headers, json=job, timeout=60)
        requests.get(f"{url}/info/", headers={"Authorization": f"Bearer {MARKER}"}, timeout=60)
        requests.get(f"{url}/info/", headers={"Host": MARKER}, timeout=60)
    written_lines = log.read_text().splitlines()
    foreign = [line for line in written_lines if not line.startswith("{")]
    assert not foreign, "not in the log's form"
    lines = [json.loads(line) for line in written_lines]
    answered = [line for line in lines if line["logger"] == "covid_bert.request"]
    assert len(answered) > 100
    assert {200, 404, 422} <= {line["status"] for line in answered}
    assert any(line["route"] == "/infer/{model}" and line["status"] == 200 for line in answered)
    audit = (home / "audit" / "audit.jsonl").read_text()
    assert json.loads(audit.splitlines()[0])["action"] == "token-added" or "server-started" in audit
    assert "server-started" in audit
    assert "image-uploaded" in audit
    assert verify_audit_log(home / "audit").findings == ()
    patient = pydicom.dcmread(next((REPOSITORY / "sample-data" / "lung_dx_a0001").glob("*")), stop_before_pixels=True)
    for written in (log.read_text(), audit):
        assert MARKER.lower() not in written.lower()
        assert secret not in written
        assert str(patient.SeriesInstanceUID) not in written
        assert str(patient.StudyInstanceUID) not in written
