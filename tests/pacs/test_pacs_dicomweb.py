"""A real archive (Orthanc) by DICOMweb: what it has, its images, what is stored; and each way in which it can fail."""

from __future__ import annotations

import json
import logging
import signal
import socket
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from archive_maker import ENVIRONMENT, IMPATIENT, PASSWORD, USER, open_pacs, push, series_of, settings_of
from pydicom.uid import generate_uid

from covid_bert.errors import NotFoundError
from covid_bert.pacs.connection import Limits
from covid_bert.pacs.credentials import read_credentials
from covid_bert.pacs.dicomweb import Pacs
from covid_bert.pacs.errors import (
    PacsAnswerError,
    PacsDownError,
    PacsError,
    PacsRefusedError,
    PacsRejectedError,
    PacsSlowError,
)
from covid_bert.pacs.state import Condition
from orthanc_server import free_port

pytestmark = pytest.mark.server


def test_ct_series_are_listed_with_what_tells_them_apart(orthanc, filled) -> None:
    pacs = open_pacs(orthanc)
    found, complete = pacs.ct_series()
    assert complete
    listed = {one.series: one for one in found}
    wanted = {kind: series_of(files) for kind, files in filled.items() if kind not in {"dose document", "magnetic"}}
    assert set(listed) == {series for _, series in wanted.values()}
    chest = listed[wanted["chest"][1]]
    assert (chest.study, chest.instances, chest.modality) == (wanted["chest"][0], 12, "CT")
    assert (chest.body_part, chest.description) == ("CHEST", "Thorax 1.0 B60f")
    assert chest.study_description == "CT Thorax"
    assert "Thorax" not in repr(chest), "free text of the archive stays out of logs"
    assert pacs.state.condition is Condition.READY


def test_a_list_on_many_pages_is_read_to_its_end(orthanc, filled, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = open_pacs(orthanc).ct_series()
    monkeypatch.setattr("covid_bert.pacs.dicomweb._PAGE", 4)
    paged, complete = open_pacs(orthanc).ct_series()
    assert complete
    assert {one.series for one in paged} == {one.series for one in whole}
    study, series = series_of(filled["chest"])
    assert len(open_pacs(orthanc).instances(study, series)) == 12


def test_a_longer_list_than_is_taken_says_that_it_is_not_all(orthanc, filled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covid_bert.pacs.dicomweb._PAGE", 2)
    monkeypatch.setattr("covid_bert.pacs.dicomweb.MOST_SERIES", 3)
    found, complete = open_pacs(orthanc).ct_series()
    assert len(found) == 4
    assert not complete


def test_an_image_arrives_as_it_was_stored(orthanc, filled, tmp_path: Path) -> None:
    pacs, file = open_pacs(orthanc), filled["chest"][5]
    study, series = series_of(filled["chest"])
    sent = pydicom.dcmread(file)
    assert sent.SOPInstanceUID in pacs.instances(study, series)
    pacs.fetch(study, series, sent.SOPInstanceUID, tmp_path / "image")
    back = pydicom.dcmread(tmp_path / "image")
    assert back == sent
    assert back.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
    (header,) = pacs.headers(study, series, 5)
    assert header.orientation == (1, 0, 0, 0, 1, 0)
    assert header.image_type == ("ORIGINAL", "PRIMARY", "AXIAL")


def test_what_the_archive_has_not_is_not_found(orthanc, filled, tmp_path: Path) -> None:
    pacs = open_pacs(orthanc)
    study, series = series_of(filled["chest"])
    for ask in (
        lambda: pacs.instances(study, "1.2.3"),
        lambda: pacs.headers("1.2.3", series, 0),
        lambda: pacs.fetch(study, series, "1.2.3", tmp_path / "image"),
    ):
        with pytest.raises(NotFoundError):
            ask()
    assert not list(tmp_path.iterdir())
    assert pacs.state.condition is Condition.READY, "it has answered"


def test_a_large_image_goes_to_the_disk_piece_by_piece(orthanc, filled, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(filled["localizer"][0])
    dataset.SeriesInstanceUID, dataset.Modality = generate_uid(), "OT"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = 1024, 1024, 10
    dataset.PixelData = bytes(20 * 2**20)
    dataset.save_as(tmp_path / "large.dcm")
    push(orthanc, [tmp_path / "large.dcm"])
    del dataset.PixelData
    pacs = open_pacs(orthanc)
    tracemalloc.start()
    try:
        pacs.fetch(dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID, tmp_path / "image")
        assert tracemalloc.get_traced_memory()[1] < 5 * 2**20
    finally:
        tracemalloc.stop()
    assert (tmp_path / "image").stat().st_size > 20 * 2**20


def test_objects_are_stored_once_and_refusals_are_told(orthanc, filled) -> None:
    pacs, dataset = open_pacs(orthanc), pydicom.dcmread(filled["unnamed"][0])
    dataset.SeriesInstanceUID, dataset.Modality = generate_uid(), "OT"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    pacs.store(dataset)
    pacs.store(dataset)
    assert pacs.instances(dataset.StudyInstanceUID, dataset.SeriesInstanceUID) == [dataset.SOPInstanceUID]
    del dataset.SOPInstanceUID, dataset.SeriesInstanceUID, dataset.StudyInstanceUID
    with pytest.raises(PacsRejectedError):
        pacs.store(dataset)


@pytest.mark.parametrize("environment", [{}, {**ENVIRONMENT, "COVID_BERT_PACS_PASSWORD": "wrong-secret"}])
def test_wrong_credentials_are_a_refusal_that_is_not_tried_again(proxy, environment) -> None:
    pacs = open_pacs(proxy.address, environment=environment)
    with pytest.raises(PacsRefusedError) as caught:
        pacs.trying(pacs.ct_series)
    assert caught.value.http_status == 503
    assert "pacs_credentials" in caught.value.hint
    assert len(proxy.asked) == 1
    assert pacs.state.condition is Condition.REFUSED


def test_an_address_without_dicomweb_is_a_refusal(orthanc) -> None:
    settings = settings_of(orthanc).model_copy(update={"url": f"{orthanc}/nothing"})
    with pytest.raises(PacsRefusedError, match="address"):
        Pacs(settings, environment=ENVIRONMENT).ct_series()


def test_nobody_at_the_address_is_down() -> None:
    pacs = open_pacs(f"http://127.0.0.1:{free_port()}", IMPATIENT)
    with pytest.raises(PacsDownError) as caught:
        pacs.trying(pacs.ct_series)
    assert caught.value.details["retry_after"] > 0
    assert pacs.state.condition is Condition.DOWN
    assert pacs.state.to_json()["code"] == "pacs-down"


def test_a_stopped_archive_is_slow_and_comes_back(orthanc, filled) -> None:
    pacs = open_pacs(orthanc, IMPATIENT)
    orthanc.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(PacsSlowError):
            pacs.ct_series()
        assert pacs.state.condition is Condition.SLOW
    finally:
        orthanc.process.send_signal(signal.SIGCONT)
    pacs.ct_series()
    assert pacs.state.condition is Condition.READY


def test_an_answer_that_takes_long_makes_the_archive_a_slow_one(orthanc, filled) -> None:
    pacs = open_pacs(orthanc, Limits(slow_seconds=0.0))
    pacs.ct_series()
    assert pacs.state.condition is Condition.SLOW
    assert pacs.state.error is None


def _status(status: int):
    def change(answer) -> None:
        answer.status, answer.body = status, b"patient DOE"

    return change


def _cut(answer) -> None:
    answer.cut = len(answer.body) // 2


def _without_end(answer) -> None:
    answer.body = answer.body[: len(answer.body) // 2]


def _page(answer) -> None:
    answer.kind, answer.body = "text/html", b"<html>Log in, DOE</html>"


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (_status(500), PacsDownError),
        (_status(502), PacsDownError),
        (_status(429), PacsSlowError),
        (_status(504), PacsSlowError),
        (_status(403), PacsRefusedError),
        (_status(302), PacsRefusedError),
        (_status(418), PacsAnswerError),
        (_cut, PacsDownError),
        (_page, PacsAnswerError),
    ],
)
def test_each_bad_answer_to_a_question_is_typed(proxy, filled, change, kind: type[PacsError]) -> None:
    proxy.change = change
    with pytest.raises(kind) as caught:
        open_pacs(proxy.address, IMPATIENT).ct_series()
    assert type(caught.value) is kind
    assert caught.value.hint
    assert "DOE" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "kind"), [(_cut, PacsDownError), (_without_end, PacsDownError), (_page, PacsAnswerError)]
)
def test_each_bad_image_is_typed_and_leaves_nothing(proxy, filled, tmp_path: Path, change, kind) -> None:
    pacs = open_pacs(proxy.address, IMPATIENT)
    study, series = series_of(filled["chest"])
    image = pacs.instances(study, series)[0]
    proxy.change = change
    with pytest.raises(kind):
        pacs.fetch(study, series, image, tmp_path / "image")
    assert not list(tmp_path.iterdir())


def test_what_failed_for_a_moment_is_tried_again(proxy, filled) -> None:
    left = [503, 504]

    def change(answer) -> None:
        if left:
            answer.status = left.pop()

    proxy.change = change
    pacs = open_pacs(proxy.address, replace(IMPATIENT, attempts=3))
    assert pacs.trying(pacs.ct_series)[1]
    assert not left


def test_answers_have_a_size_and_a_time(proxy, filled) -> None:
    with pytest.raises(PacsAnswerError, match="larger"):
        open_pacs(proxy.address, Limits(list_bytes=100)).ct_series()
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_trickle, args=(server,), daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(PacsSlowError):
            open_pacs(address, Limits(read_seconds=30.0, answer_seconds=0.3)).ct_series()
        thread.join(60)
        assert not thread.is_alive()


def _trickle(server: socket.socket) -> None:
    """Answer one request byte by byte, without end."""
    connection, _ = server.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000000\r\n\r\n[")
        pause = threading.Event()
        try:
            while not pause.wait(0.02):
                connection.sendall(b" ")
        except OSError:
            return


def test_no_secret_and_no_identifier_is_logged_or_shown(proxy, filled, caplog, tmp_path: Path) -> None:
    study, series = series_of(filled["chest"])
    with caplog.at_level(logging.DEBUG):
        pacs = open_pacs(proxy.address, IMPATIENT)
        pacs.ct_series()
        pacs.fetch(study, series, pacs.instances(study, series)[0], tmp_path / "image")
        proxy.change = _status(503)
        with pytest.raises(PacsError) as caught:
            pacs.headers(study, series, 0)
        nobody = open_pacs(f"http://127.0.0.1:{free_port()}", IMPATIENT)
        with pytest.raises(PacsError):
            nobody.fetch(study, series, "1.2.3", tmp_path / "other")
        with pytest.raises(PacsError):
            nobody.instances(study, series)
    auth = read_credentials(settings_of(proxy.address), ENVIRONMENT)
    shown = [caplog.text, str(caught.value), repr(caught.value), json.dumps(caught.value.to_json())]
    shown += [json.dumps(pacs.state.to_json()), repr(pacs), repr(auth), repr(settings_of(proxy.address))]
    shown += [str(error) for error in (caught.value.__cause__, caught.value.__context__) if caught.value.__cause__]
    for secret in (PASSWORD, USER, study, series, "Basic "):
        assert secret not in " ".join(shown)
    assert np.any([series in path for path in proxy.asked]), "they were part of what was asked"
