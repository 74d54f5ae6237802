"""Receiving by C-STORE, with pynetdicom and dcmtk as senders."""

from __future__ import annotations

import socket
import struct
import subprocess
from ipaddress import ip_network
from pathlib import Path

import pydicom
import pytest
from dicom_maker import compress
from router_maker import LOCAL, associate, key_of, make_study, receiving, send, wait_until

from covid_bert.errors import OutputError
from covid_bert.router.connections import LONGEST_UNIT_BYTES, Peer
from covid_bert.router.queue_list import State
from covid_bert.router.spool import Spool
from covid_bert.volumes import read
from needed import require_program


@pytest.fixture
def spool(tmp_path: Path):
    spool = Spool(tmp_path / "spool", reserve_bytes=1)
    yield spool
    spool.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_study(tmp_path_factory.mktemp("study"))


def settled(spool: Spool) -> State:
    spool.queue.settle(1e12, quiet=0, patience=1e13)
    return spool.queue.studies()[0].state


def test_a_study_that_was_answered_is_on_the_disk_and_equal(spool: Spool, files: list[Path]) -> None:
    with receiving(spool) as receiver:
        assert send(receiver.port, files) == [0] * len(files)
        key = key_of(files)
        assert spool.queue.find(key).files == len(files)
        assert read(spool.study(key)).identifier == read(files[0].parent).identifier
        wait_until(lambda: settled(spool) is State.READY)
    assert not [path for path in spool.incoming.iterdir() if path.is_file()]


def test_storescu_and_echoscu_of_dcmtk(spool: Spool, files: list[Path], tmp_path: Path) -> None:
    echo, store = require_program("echoscu", "dcmtk"), require_program("storescu", "dcmtk")
    make_study(tmp_path / "lossless")
    for file in (tmp_path / "lossless").iterdir():
        compress(file, "JPEGLosslessProcess14_1")
    with receiving(spool) as receiver:
        names = ["-aet", "PACS", "-aec", "COVIDBERT", "127.0.0.1", str(receiver.port)]
        subprocess.run([echo, *names], check=True, timeout=120)
        subprocess.run([store, *names, "+sd", str(files[0].parent)], check=True, timeout=120)
        subprocess.run([store, "-xs", *names, "+sd", str(tmp_path / "lossless")], check=True, timeout=120)
    assert [study.files for study in spool.queue.studies()] == [len(files)] * 2
    packed = key_of(list((tmp_path / "lossless").iterdir()))
    assert read(spool.study(packed)).identifier == read(tmp_path / "lossless").identifier


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({"name": "STRANGER"}, {}),
        ({"called": "SOMEBODY"}, {}),
        ({}, {"peers": (Peer("PACS", ip_network("192.0.2.0/24")),)}),
        ({}, {"peers": (Peer("OTHER", ip_network("127.0.0.1")), Peer("PACS", ip_network("192.0.2.1")))}),
    ],
    ids=["another name", "for another", "another address", "the name of a peer elsewhere"],
)
def test_strangers_are_refused(spool: Spool, options: dict, settings: dict) -> None:
    with receiving(spool, **settings) as receiver:
        association = associate(receiver.port, **options)
        assert not association.is_established
    assert spool.queue.studies() == []


def test_no_more_associations_than_allowed(spool: Spool) -> None:
    with receiving(spool, associations=1) as receiver:
        first = associate(receiver.port)
        assert first.is_established
        assert associate(receiver.port).is_rejected
        first.release()
        wait_until(lambda: associate(receiver.port).is_established)


def test_a_full_disk_is_told_and_nothing_is_kept(tmp_path: Path, files: list[Path]) -> None:
    full = Spool(tmp_path / "full", reserve_bytes=2**62)
    with receiving(full) as receiver:
        assert send(receiver.port, files[:2]) == [0xA700] * 2
    assert full.queue.studies() == []
    full.close()


def test_a_disk_that_takes_no_entry_is_told(spool: Spool, files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_, **__):
        raise OutputError("The queue of studies cannot be read or written.")

    monkeypatch.setattr(spool.queue, "add", full)
    with receiving(spool) as receiver:
        assert send(receiver.port, files[:1]) == [0xA700]


def test_objects_that_are_too_large_end_the_connection(spool: Spool, files: list[Path]) -> None:
    large = pydicom.dcmread(files[0])
    large.ImageComments = "x"
    large.PixelData = bytes(3 * 2**20)
    with receiving(spool, object_bytes=2**20) as receiver:
        association = associate(receiver.port)
        assert association.send_c_store(large).get("Status") is None
        assert send(receiver.port, files[:1]) == [0]
    assert spool.queue.studies()[0].files == 1


def test_units_of_any_length_are_not_read(spool: Spool, files: list[Path]) -> None:
    with receiving(spool) as receiver:
        with socket.create_connection(("127.0.0.1", receiver.port), timeout=120) as connection:
            connection.sendall(struct.pack(">BBL", 1, 0, LONGEST_UNIT_BYTES + 1) + bytes(100))
            assert connection.recv(100) == b"", "the connection is closed without waiting for all of it"
        assert send(receiver.port, files[:1]) == [0]


def test_silence_is_not_waited_for_without_end(spool: Spool, files: list[Path]) -> None:
    with receiving(spool, seconds=1.0) as receiver:
        with socket.create_connection(("127.0.0.1", receiver.port), timeout=120) as connection:
            connection.sendall(struct.pack(">BBL", 1, 0, 1000) + bytes(10))
            assert connection.recv(100) == b""
        assert send(receiver.port, files[:1]) == [0]


def test_damaged_objects_and_wrong_names_are_refused(spool: Spool, files: list[Path]) -> None:
    nameless = pydicom.dcmread(files[0])
    del nameless.StudyInstanceUID
    with receiving(spool) as receiver:
        association = associate(receiver.port)
        assert association.send_c_store(nameless).Status == 0xC000
        association.release()
    assert spool.queue.studies() == []


def test_results_of_this_program_are_not_taken(spool: Spool, files: list[Path]) -> None:
    """An archive may send on what it gets: results would be new files of their study for ever."""
    result = pydicom.dcmread(files[0])
    result.SOPClassUID = result.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
    with receiving(spool) as receiver:
        association = associate(receiver.port)
        with pytest.raises(ValueError, match="context"):
            association.send_c_store(result)
        association.release()
    assert spool.queue.studies() == []


def test_a_connection_that_breaks_off_leaves_the_study_incomplete_until_it_is_sent_again(
    spool: Spool, files: list[Path]
) -> None:
    with receiving(spool) as receiver:
        association = associate(receiver.port)
        for file in files[:4]:
            assert association.send_c_store(pydicom.dcmread(file)).Status == 0
        association.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: not receiver.associations)
        assert settled(spool) is State.INCOMPLETE
        assert send(receiver.port, files) == [0] * len(files)
        wait_until(lambda: settled(spool) is State.READY)
    assert spool.queue.find(key_of(files)).files == len(files)


def test_an_abort_between_objects_is_an_end(spool: Spool, files: list[Path]) -> None:
    with receiving(spool) as receiver:
        association = associate(receiver.port)
        for file in files:
            association.send_c_store(pydicom.dcmread(file))
        association.abort()
        wait_until(lambda: settled(spool) is State.READY)


def test_peers_are_more_than_one_address() -> None:
    peer = Peer("PACS", ip_network("10.1.0.0/16"))
    assert peer.has("10.1.255.7")
    assert not peer.has("10.2.0.1")
    assert not peer.has("nowhere")
    assert LOCAL[0].has("127.0.0.1")
