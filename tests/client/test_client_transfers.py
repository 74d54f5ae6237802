"""Files on their way: streamed, cancelled, cut off; nothing half written, no name of a patient sent."""

from __future__ import annotations

import resource
import threading
import tracemalloc
from pathlib import Path

import pytest
from scripted_server import JOB_ID, TOKEN, cut, early, job, page, raw, refusal, reply, slow

from covid_bert.client import (
    Backoff,
    CancelledError,
    Client,
    ClientError,
    ConflictError,
    ConnectionLostError,
    GoneError,
    InvalidAnswerError,
    InvalidRequestError,
    Job,
    LocalFileError,
    TimedOutError,
    TooLargeError,
    WrongServerError,
)
from covid_bert.client.jobs import read_job

FILE = f"/jobs/{JOB_ID}/file"
SESSION = reply(200, {"session_id": "one"})
MEBIBYTE = 2**20


@pytest.fixture
def done() -> Job:
    return read_job(job("done"), None)


@pytest.fixture
def once(server) -> Client:
    return Client(server.url, TOKEN, read_timeout=1.0, backoff=Backoff(attempts=1))


def study_of(folder: Path, size: int, name: str = "Meier^Hans 1950.NII.GZ") -> Path:
    path = folder / name
    with path.open("wb") as file:
        file.truncate(size)
    return path


def test_upload_sends_the_file_and_not_its_name(server, client, tmp_path) -> None:
    study = tmp_path / "Meier^Hans.1950.nii.gz"
    study.write_bytes(bytes(range(256)) * 2000)
    server.script["/session/"] = [SESSION]
    fractions: list[float] = []
    assert client.upload(study, on_progress=fractions.append) == "one"
    request = server.requests[-1]
    assert study.read_bytes() in request.body
    assert b'name="files"; filename="study.nii.gz"' in request.body
    assert b"Meier" not in request.body
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert len(fractions) == 8


def test_upload_is_not_held_in_memory(server, client, tmp_path) -> None:
    def take(handler) -> None:
        left = int(handler.headers["Content-Length"])
        while left:
            left -= len(handler.rfile.read(min(left, 2**16)))
        SESSION(handler)

    server.script["/session/"] = [early(take)]
    study = study_of(tmp_path, 64 * MEBIBYTE)
    tracemalloc.start()
    try:
        assert client.upload(study) == "one"
        assert tracemalloc.get_traced_memory()[1] < 8 * MEBIBYTE
    finally:
        tracemalloc.stop()


def test_upload_is_cancelled_midway(server, client, tmp_path) -> None:
    fractions: list[float] = []
    with pytest.raises(CancelledError):
        client.upload(
            study_of(tmp_path, 20 * MEBIBYTE),
            on_progress=fractions.append,
            cancelled=lambda: len(fractions) >= 5,
        )
    assert len(fractions) == 5


def test_upload_that_is_refused_before_its_end(server, once, tmp_path) -> None:
    server.script["/session/"] = [early(refusal(413, "too-large"))]
    with pytest.raises(TooLargeError):
        once.upload(study_of(tmp_path, 50 * MEBIBYTE))


def test_success_before_the_end_of_an_upload_is_none(server, once, tmp_path) -> None:
    server.script["/session/"] = [early(SESSION)]
    with pytest.raises(ConnectionLostError):
        once.upload(study_of(tmp_path, 50 * MEBIBYTE))


def test_server_that_takes_nothing(server, once, tmp_path) -> None:
    server.script["/session/"] = [early(slow(2.5, SESSION))]
    with pytest.raises(TimedOutError):
        once.upload(study_of(tmp_path, 50 * MEBIBYTE))


@pytest.mark.parametrize("name", ["Meier.Hans", "notes.txt", "study", "study.dcm"])
def test_files_that_are_no_studies_stay_here(server, client, tmp_path, name) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        client.upload(study_of(tmp_path, 10, name))
    assert ".nii.gz" in caught.value.hint
    assert server.requests == []


def test_folder_and_missing_file(server, client, tmp_path) -> None:
    with pytest.raises(InvalidRequestError, match="folder"):
        client.upload(tmp_path)
    with pytest.raises(LocalFileError):
        client.upload(tmp_path / "missing.nii.gz")
    assert server.requests == []


def test_file_that_shrinks_while_it_is_sent(server, once, tmp_path) -> None:
    study = study_of(tmp_path, 10 * MEBIBYTE)
    with pytest.raises(LocalFileError, match="shorter"):
        once.upload(study, on_progress=lambda _: study_of(tmp_path, 1000))


@pytest.mark.parametrize("session_id", [None, 5, "", "../jobs", "a b", "a/b", "x" * 200])
def test_session_that_the_server_cannot_mean(server, client, tmp_path, session_id) -> None:
    server.script["/session/"] = [reply(200, {"session_id": session_id})]
    with pytest.raises(InvalidAnswerError):
        client.upload(study_of(tmp_path, 10))


@pytest.mark.parametrize("name", ["../../evil", "/etc/passwd", "evil.nii.gz"])
def test_download_has_our_name_only(server, client, done, tmp_path, name) -> None:
    server.script[FILE] = [reply(200, b"mask", {"Content-Disposition": f'attachment; filename="{name}"'})]
    folder = tmp_path / "inner" / "folder"
    folder.mkdir(parents=True)
    assert client.download(done, folder / "mask.nii.gz") == folder / "mask.nii.gz"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [folder / "mask.nii.gz"]
    assert (folder / "mask.nii.gz").read_bytes() == b"mask"
    assert (folder / "mask.nii.gz").stat().st_mode & 0o077 == 0


def test_download_reports_its_progress_and_replaces_the_old_file(server, client, done, tmp_path) -> None:
    server.script[FILE] = [reply(200, bytes(300_000))]
    target = tmp_path / "mask.nii.gz"
    target.write_bytes(b"old")
    fractions: list[float] = []
    client.download(done, target, on_progress=fractions.append)
    assert target.read_bytes() == bytes(300_000)
    assert fractions == sorted(fractions)
    assert (fractions[-1], len(fractions) > 4) == (1.0, True)


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n"):
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + end)


def test_download_in_chunks(server, client, done, tmp_path) -> None:
    server.script[FILE] = [chunked(b"one", b"two" * 50_000)]
    assert client.download(done, tmp_path / "mask").read_bytes() == b"one" + b"two" * 50_000


def without_length(content: bytes):
    return raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n" + content)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (cut(bytes(100_000), 200_000), ConnectionLostError),
        (cut(b"", 10), ConnectionLostError),
        (chunked(b"one", end=b""), ConnectionLostError),
        (chunked(b"one", end=b"ffff\r\nhalf"), ConnectionLostError),
        (chunked(b"one", end=b"no number\r\n"), ConnectionLostError),
        (without_length(b"mask"), InvalidAnswerError),
        (reply(200, b"mask", {"Content-Encoding": "gzip"}), InvalidAnswerError),
        (cut(b"mask", 11 * MEBIBYTE), InvalidAnswerError),
        (chunked(bytes(6 * MEBIBYTE), bytes(6 * MEBIBYTE)), InvalidAnswerError),
        (page(200), WrongServerError),
        (refusal(409, "not-ready"), ConflictError),
        (refusal(410, "gone"), GoneError),
    ],
)
def test_download_that_fails_leaves_the_old_file(server, once, done, tmp_path, answer, kind) -> None:
    server.script[FILE] = [answer]
    target = tmp_path / "mask.nii.gz"
    target.write_bytes(b"old")
    with pytest.raises(ClientError) as caught:
        once.download(done, target, limit_bytes=10 * MEBIBYTE)
    assert type(caught.value) is kind
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target], "nothing half written stays"


def test_download_that_stalls(server, once, done, tmp_path) -> None:
    def stall(handler) -> None:
        cut(b"half", 8)(handler)
        threading.Event().wait(1.6)

    server.script[FILE] = [stall]
    with pytest.raises(TimedOutError):
        once.download(done, tmp_path / "mask")
    assert list(tmp_path.iterdir()) == []


def test_download_is_tried_again_from_the_start(server, client, done, tmp_path) -> None:
    server.script[FILE] = [cut(b"ha", 4), reply(200, b"mask")]
    assert client.download(done, tmp_path / "mask").read_bytes() == b"mask"


def test_download_is_cancelled_midway(server, client, done, tmp_path) -> None:
    server.script[FILE] = [reply(200, bytes(5 * MEBIBYTE))]
    fractions: list[float] = []
    with pytest.raises(CancelledError):
        client.download(done, tmp_path / "mask", on_progress=fractions.append, cancelled=lambda: len(fractions) >= 3)
    assert len(fractions) == 3
    assert list(tmp_path.iterdir()) == []


def test_target_that_cannot_be_written(server, client, done, tmp_path) -> None:
    server.script[FILE] = [reply(200, b"mask")]
    (tmp_path / "folder").mkdir()
    for target in (tmp_path / "missing" / "mask", tmp_path / "folder"):
        with pytest.raises(LocalFileError):
            client.download(done, target)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_disk_that_is_full_is_no_fault_of_the_network(server, client, done, tmp_path) -> None:
    server.script[FILE] = [reply(200, bytes(MEBIBYTE))]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(LocalFileError, match="cannot be written"):
            client.download(done, tmp_path / "mask")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
    assert server.paths().count(FILE) == 1
