"""Strange and damaged DICOM, uploaded to a live server: answered with a sentence, and the server goes on."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import requests
from fuzz_maker import damaged, sound_files
from multi_frame_maker import make_enhanced
from pydicom.uid import DeflatedExplicitVRLittleEndian
from strange_studies import STRANGE, make_strange, zipped
from volume_maker import PATIENT_ID

from covid_bert import errors
from covid_bert.volumes import read

pytestmark = [pytest.mark.server, pytest.mark.slow]
# Of those that could be read: the phantoms are too small for lungs.
READ = {"", "no-lungs"}
ROUNDS = 4
CODES = {
    each.code for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.CovidBertError)
}


def infer(server, path: Path) -> tuple[int, dict]:
    """Upload a zip file with a request for lungs; return status and detail of the error."""
    with path.open("rb") as content:
        files = {"params": (None, "{}"), "file": ("study.zip", content)}
        reply = requests.post(f"{server.url}/infer/lungs", files=files, timeout=300)
    return reply.status_code, {} if reply.ok else reply.json()["detail"]


def test_strange_studies_are_read_or_refused_in_words(server, tmp_path) -> None:
    for name, (_, code) in STRANGE.items():
        status, detail = infer(server, zipped(make_strange(name, tmp_path / name)))
        assert status < 500, name
        if code:
            assert detail["code"] == code, name
            assert detail["hint"], name
        else:
            assert detail.get("code", "") in READ, (name, detail)
        assert PATIENT_ID not in json.dumps(detail)
    assert PATIENT_ID not in server.log.read_text()


def test_files_of_a_session_may_be_of_any_syntax(server, tmp_path) -> None:
    """A real study as one deflated enhanced file gives the lungs of its single slices."""
    volume = read(server.studies / "lung_dx_a0001")
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    file = make_enhanced(
        tmp_path / "enhanced.dcm",
        volume.array,
        spacing=volume.spacing,
        origin=lps[:3, 3],
        syntax=DeflatedExplicitVRLittleEndian,
    )
    sent = [("files", ("a.dcm", file.read_bytes())), ("files", ("b.txt", b"no image"))]
    session = requests.put(f"{server.url}/session/", files=sent, timeout=60).json()["session_id"]
    volumes = []
    for query in (f"session_id={session}", "image=lung_dx_a0001"):
        reply = requests.post(
            f"{server.url}/infer/lungs?{query}&output=json", files={"params": (None, "{}")}, timeout=300
        )
        assert reply.ok, reply.text
        volumes.append(reply.json()["lung_volume_ml"]["total"])
    assert volumes[0] == pytest.approx(volumes[1], rel=1e-3)
    requests.delete(f"{server.url}/session/{session}", timeout=60)


def test_damaged_files_do_not_end_the_server(server, tmp_path) -> None:
    for number, sound in enumerate([*sound_files(tmp_path / "sound")] * ROUNDS):
        content = damaged(sound.read_bytes(), 7000 + number)
        path = tmp_path / f"{number}.zip"
        if sound.suffix == ".zip":
            path.write_bytes(content)
        else:
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("x.dcm", content)
        status, detail = infer(server, path)
        assert status < 500, (sound.name, detail)
        assert detail.get("code", "") in {"", *CODES} - {"internal"}
    assert requests.get(f"{server.url}/healthz", timeout=60).ok
    assert PATIENT_ID not in server.log.read_text()
