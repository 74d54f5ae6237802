"""A disk that takes nothing more: said as such, and not as a fault of the client."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Annotated

import pytest
from fastapi import FastAPI, Form, UploadFile
from fastapi.testclient import TestClient

from covid_bert.server import failures
from covid_bert.server.received import received
from needed import require_module

require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")
# Larger parts of a form are kept on the disk while they arrive.
IN_MEMORY = 2**20


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()
    failures.install(app)

    @app.put("/file")
    def keep(file: UploadFile, note: Annotated[str, Form()] = "") -> int:
        with received(file.file, ".nii") as path:
            return path.stat().st_size + len(note)

    @app.get("/write/{number}")
    def write(number: int) -> None:
        raise OSError(number, os.strerror(number), "patient-name")

    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize("size", [1, 2 * IN_MEMORY])
def test_an_upload_that_finds_no_room_is_answered_with_507(
    client: TestClient, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = {"file": ("patient-name.nii", bytes(size))}
    assert client.put("/file", files=sent).json() == size
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    reply = client.put("/file", files=sent)
    assert (reply.status_code, reply.json()["detail"]["code"]) == (507, "cannot-write")
    assert "patient-name" not in reply.text


@pytest.mark.parametrize(
    ("number", "status", "code"),
    [
        *((number, 507, "cannot-write") for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)),
        *((number, 500, "internal") for number in (errno.EACCES, errno.EIO, errno.ENOENT)),
    ],
)
def test_any_route_says_that_the_disk_is_full(client: TestClient, number: int, status: int, code: str) -> None:
    reply = client.get(f"/write/{number}")
    assert (reply.status_code, reply.json()["detail"]["code"]) == (status, code)
    assert "patient-name" not in reply.text


def test_a_form_that_is_none_stays_the_clients_fault(client: TestClient) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    reply = client.put("/file", content=b"--x\r\nno header", headers=headers)
    assert reply.status_code in {400, 422}
