"""A router as a process, a real archive, real senders: kills, restarts, a destination that is away, TLS, a zip drop."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from certificates import make_certificate
from fake_computing import FakeComputing
from router_maker import (
    associate,
    key_of,
    make_study,
    receiver_section,
    send,
    storing,
    wait_until,
    write_configuration,
)
from volume_maker import PATIENT_ID, PATIENT_NAME

from covid_bert.router.queue_list import QueueList, State
from needed import require_program
from orthanc_server import free_port, running_orthanc

pytestmark = [pytest.mark.server, pytest.mark.slow]
HERE = Path(__file__).resolve().parent


class Routing:
    """A router's process and what it has written."""

    def __init__(self, folder: Path, configuration: Path, template: Path) -> None:
        self.folder = folder
        self.computing = FakeComputing(folder / "marks", template)
        self.command = [sys.executable, str(HERE / "router_process.py"), str(configuration)]
        self.command += [str(self.computing.marks), str(template)]
        self.log = folder / "log"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                self.command,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n", self.log.read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(60)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(120)

    def states(self) -> dict[str, str]:
        queue = QueueList(self.folder / "spool")
        try:
            return {study.key: study.state.value for study in queue.studies()}
        finally:
            queue.close()

    def wait(self, key: str, state: State) -> None:
        wait_until(lambda: self.states().get(key) == state.value, f"{state} instead of {self.states()}")


@pytest.fixture
def routing(template: Path):
    """Starts a router: see `_routing`."""
    return functools.partial(_routing, template)


@contextmanager
def _routing(template: Path, folder: Path, **sections) -> Iterator[tuple[Routing, int]]:
    """A running router with a receiver, and the receiver's port."""
    port = free_port()
    sections.setdefault("receiver", receiver_section(port))
    if "port" in sections["receiver"]:
        port = sections["receiver"]["port"]
    made = Routing(folder, write_configuration(folder, **sections), template)
    made.start()
    try:
        wait_until(lambda: _listens(port))
        yield made, port
    finally:
        made.kill()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def archive(folder: Path) -> Iterator[tuple[str, int]]:
    """A real Orthanc, as its address and its port for DICOM."""
    port = free_port()
    folder.mkdir(exist_ok=True)
    settings = {"DicomServerEnabled": True, "DicomPort": port, "DicomAet": "ARCHIVE", "DicomCheckCalledAet": True}
    with running_orthanc(folder, **settings) as address:
        yield address, port


def modalities(address: str) -> list[str]:
    """Modalities of all series of the archive."""
    with urllib.request.urlopen(f"{address}/series?expand", timeout=60) as reply:
        return sorted(series["MainDicomTags"]["Modality"] for series in json.load(reply))


def instances(address: str) -> int:
    with urllib.request.urlopen(f"{address}/instances", timeout=60) as reply:
        return len(json.load(reply))


RESULTS = ["DOC", "OT", "SEG", "SEG", "SR"]


def entity(port: int, **options) -> dict:
    return {"kind": "dicom", "host": "127.0.0.1", "port": port, "ae_title": "ARCHIVE", **options}


def test_from_storescu_to_the_archive_by_c_store(tmp_path: Path, routing) -> None:
    store = require_program("storescu", "dcmtk")
    files = make_study(tmp_path / "study")
    with (
        archive(tmp_path / "orthanc") as (address, port),
        routing(tmp_path, destination=entity(port)) as (router, own),
    ):
        names = ["-aet", "PACS", "-aec", "COVIDBERT", "127.0.0.1", str(own)]
        for _ in range(2):
            subprocess.run([store, *names, "+sd", str(files[0].parent)], check=True, timeout=240)
            router.wait(key_of(files), State.DONE)
        assert modalities(address) == RESULTS
        assert router.computing.runs() == [key_of(files)], "what came twice was computed once"
        assert router.stop() == 0
        log = router.log.read_text()
    dataset = pydicom.dcmread(files[0])
    for secret in (PATIENT_ID, PATIENT_NAME, str(dataset.StudyInstanceUID), str(dataset.SOPInstanceUID)):
        assert secret not in log
    assert all(json.loads(line) for line in log.splitlines())


def test_a_zip_drop_to_the_archive_by_dicomweb(tmp_path: Path, routing) -> None:
    files = make_study(tmp_path / "study")
    (tmp_path / "drop").mkdir()
    watch = {"folder": str(tmp_path / "drop"), "settle_seconds": 0.5, "interval_seconds": 0.2}
    with archive(tmp_path / "orthanc") as (address, _):
        destination = {"kind": "dicomweb", "url": f"{address}/dicom-web"}
        with routing(tmp_path, watch=watch, destination=destination) as (router, _):
            shutil.make_archive(str(tmp_path / "drop" / "study"), "zip", files[0].parent)
            router.wait(key_of(files), State.DONE)
        assert modalities(address) == RESULTS


def test_kills_at_every_moment_lose_nothing_and_do_nothing_twice(tmp_path: Path, routing) -> None:
    """Killed while it receives, classifies and sends; every object that was answered is there at the end."""
    with archive(tmp_path / "orthanc") as (address, port):
        studies = [make_study(tmp_path / f"study{index}") for index in range(3)]
        with routing(tmp_path, destination=entity(free_port()), quiet_seconds=0.2) as (router, own):
            # While it receives: the sender does not hear of the end, and sends all again.
            association = associate(own)
            for file in studies[0][:6]:
                assert association.send_c_store(pydicom.dcmread(file)).Status == 0
            router.kill()
            router.start()
            wait_until(lambda: _listens(own))
            router.wait(key_of(studies[0]), State.INCOMPLETE)
            send(own, studies[0])
            # While it classifies or sends, a hundred times as fast as it is quiet.
            for files in studies[1:]:
                send(own, files)
                wait_until(lambda files=files: key_of(files) in router.states())
                router.kill()
                router.start()
                wait_until(lambda: _listens(own))
            for files in studies:
                router.wait(key_of(files), State.SENDING)
            router.kill()
            write_configuration(tmp_path, destination=entity(port), receiver=receiver_section(own))
            router.start()
            for files in studies:
                router.wait(key_of(files), State.DONE)
        assert modalities(address) == sorted(RESULTS * 3)
        assert instances(address) == 3 * len(RESULTS)


def test_a_study_that_kills_the_router_itself_is_set_aside(tmp_path: Path, routing) -> None:
    bad, good = make_study(tmp_path / "bad", "SLOW"), make_study(tmp_path / "good")
    with storing() as (port, received), routing(tmp_path, destination=entity(port), attempts=2) as (router, own):
        send(own, bad)
        for attempt in (1, 2):
            wait_until(lambda attempt=attempt: len(router.computing.runs()) == attempt)
            router.kill()
            router.start()
        router.wait(key_of(bad), State.ASIDE)
        wait_until(lambda: _listens(own))
        send(own, good)
        router.wait(key_of(good), State.DONE)
        assert len(received) == len(RESULTS)


def test_a_stop_in_order_ends_at_once_and_loses_nothing(tmp_path: Path, routing) -> None:
    files = make_study(tmp_path / "study", "SLOW")
    with storing() as (port, _), routing(tmp_path, destination=entity(port)) as (router, own):
        send(own, files)
        wait_until(router.computing.runs)
        assert router.stop() == 0
        assert router.states() == {key_of(files): State.READY.value}


def test_a_destination_that_comes_back_gets_everything(tmp_path: Path, routing) -> None:
    files, later = make_study(tmp_path / "study"), free_port()
    with routing(tmp_path, destination=entity(later)) as (router, own):
        send(own, files)
        router.wait(key_of(files), State.SENDING)
        health = tmp_path / "spool" / "health.json"
        wait_until(lambda: health.exists() and "destination" in json.loads(health.read_text())["troubles"])
        (tmp_path / "orthanc").mkdir()
        settings = {"DicomServerEnabled": True, "DicomPort": later, "DicomAet": "ARCHIVE"}
        with running_orthanc(tmp_path / "orthanc", **settings) as address:
            router.wait(key_of(files), State.DONE)
            assert modalities(address) == RESULTS
            wait_until(lambda: json.loads(health.read_text())["well"])


def test_half_a_study_is_set_aside_with_its_reason_and_completed_by_the_rest(tmp_path: Path, routing) -> None:
    files = make_study(tmp_path / "study")
    with (
        storing() as (port, received),
        routing(tmp_path, destination=entity(port), patience_minutes=0.02) as (router, own),
    ):
        send(own, [*files[:5], *files[7:]])
        router.wait(key_of(files), State.ASIDE)
        queue = QueueList(tmp_path / "spool")
        assert queue.find(key_of(files)).code == "missing-slices"
        queue.close()
        send(own, files[5:7])
        router.wait(key_of(files), State.DONE)
        assert len(received) == len(RESULTS)


def test_tls_on_both_sides(tmp_path: Path, routing) -> None:
    certificate, key = make_certificate(tmp_path)
    tls = {"certificate": str(certificate), "key": str(key), "authority": str(certificate)}
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    server.load_verify_locations(certificate)
    server.verify_mode = ssl.CERT_REQUIRED
    sender = ssl.create_default_context(cafile=str(certificate))
    stranger = ssl.create_default_context(cafile=str(certificate))
    sender.load_cert_chain(certificate, key)
    files = make_study(tmp_path / "study")
    port = free_port()
    with (
        storing(ssl_context=server) as (archive_port, received),
        routing(tmp_path, receiver=receiver_section(port, tls=tls), destination=entity(archive_port, tls=tls)) as (
            router,
            own,
        ),
    ):
        assert not associate(own).is_established, "without encryption"
        with pytest.raises((AssertionError, OSError)):
            send(own, files, tls=(stranger, "127.0.0.1"))
        assert send(own, files, tls=(sender, "127.0.0.1")) == [0] * len(files)
        router.wait(key_of(files), State.DONE)
        assert len(received) == len(RESULTS)


def test_one_router_for_one_spool_folder(tmp_path: Path, routing) -> None:
    with storing() as (port, _), routing(tmp_path, destination=entity(port)) as (router, _):
        other = subprocess.run(router.command, capture_output=True, text=True, timeout=240)
        assert other.returncode != 0
        assert "BusyError" in other.stderr
        os.kill(router.process.pid, signal.SIGTERM)
        assert router.process.wait(120) == 0
