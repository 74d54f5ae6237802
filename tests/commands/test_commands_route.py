"""`covid-bert route`: its set-up, its queue, and a study through the whole of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pydicom
import pytest
from command_line import run

from covid_bert.errors import ParameterError
from covid_bert.phantom import make
from covid_bert.phantom.writer import write_dicom
from covid_bert.router.configuration import EntitySection, TlsSection, load
from covid_bert.router.queue import Queue

KEY, OTHER = "a1" * 16, "b2" * 16
RECEIVER = '[receiver]\npeers = [{ae_title = "PACS", address = "192.0.2.7"}]\n'
DESTINATION = '[destination]\nkind = "dicom"\nhost = "pacs"\nport = 104\nae_title = "PACS"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "route.toml"
    path.write_text(f"spool = {json.dumps(str(folder / 'spool'))}\n{text}")
    return path


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    return written(tmp_path, RECEIVER + DESTINATION)


@pytest.fixture
def queue(tmp_path: Path, configuration: Path):
    queue = Queue(tmp_path / "spool")
    for key in (KEY, OTHER):
        queue.add(key, "1.dcm", "receiver", time.time(), transfer=True)
        (tmp_path / "spool" / "studies" / key).mkdir(parents=True)
    queue.settle(time.time() + 1000, quiet=1, patience=1)
    yield queue
    queue.close()


def test_what_holds_without_a_setting(configuration: Path) -> None:
    settings = load(configuration)
    assert (settings.receiver.host, settings.receiver.port) == ("127.0.0.1", 11112)
    assert settings.receiver.known_peers[0].has("192.0.2.7")
    assert isinstance(settings.destination, EntitySection)
    assert settings.system == "s1"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (DESTINATION, "receiver"),
        ("[receiver]\npeers = []\n" + DESTINATION, "receiver.peers"),
        (RECEIVER, "destination"),
        ("quiet = 3\n" + RECEIVER + DESTINATION, "quiet"),
        ("quiet_seconds = 0\n" + RECEIVER + DESTINATION, "quiet_seconds"),
        ("quiet_seconds = inf\n" + RECEIVER + DESTINATION, "quiet_seconds"),
        ("attempts = true\n" + RECEIVER + DESTINATION, "attempts"),
        ('system = "s9"\n' + RECEIVER + DESTINATION, "system"),
        ("reserve_megabytes = 100\n" + RECEIVER + DESTINATION, "reserve_megabytes"),
        (RECEIVER + 'ae_title = "MORE THAN SIXTEEN"\n' + DESTINATION, "receiver.ae_title"),
        (RECEIVER + "port = 70000\n" + DESTINATION, "receiver.port"),
        (RECEIVER.replace("192.0.2.7", "pacs") + DESTINATION, "address"),
        (RECEIVER + '[destination]\nkind = "mail"\n', "destination"),
        (RECEIVER + '[destination]\nkind = "dicomweb"\nurl = "ftp://pacs"\n', "url"),
        (RECEIVER + '[destination]\nkind = "dicomweb"\nurl = "https://me:secret@pacs/dicom-web"\n', "url"),
        (RECEIVER + '[receiver.tls]\ncertificate = "own.pem"\n' + DESTINATION, "receiver.tls"),
        ("[receiver\n", "TOML"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ParameterError, match=named) as raised:
        load(written(tmp_path, text))
    assert "secret" not in str(raised.value)


def test_certificates_are_checked_before_anything_begins(tmp_path: Path) -> None:
    (tmp_path / "own.pem").write_text("no certificate")
    with pytest.raises(ParameterError, match="TLS"):
        TlsSection(certificate=tmp_path / "own.pem", key=tmp_path / "own.pem").for_server()
    with pytest.raises(ParameterError, match="certificate"):
        TlsSection().for_server()


def test_the_list_says_how_each_study_stands(queue: Queue, configuration: Path) -> None:
    code, shown = run("route", "list", "--configuration", configuration)
    assert code == 0
    assert KEY[:12] in shown
    told = json.loads(run("route", "list", "--configuration", configuration, "--json")[1])
    assert {study["state"] for study in told} == {"set-aside"}


def test_retry_and_drop(queue: Queue, configuration: Path, tmp_path: Path) -> None:
    where = ("--configuration", configuration)
    assert run("route", "retry", *where, KEY[:4])[0] == 0
    assert queue.find(KEY).state.value == "ready"
    assert run("route", "retry", *where, KEY[:4])[0] == 2, "it is not aside any more"
    assert run("route", "retry", *where, "ff")[0] == 4
    assert run("route", "drop", *where, "--all-aside")[0] == 0
    assert [study.key for study in queue.studies()] == [KEY]
    assert [path.name for path in (tmp_path / "spool" / "studies").iterdir()] == [KEY]


def test_health_of_a_router_that_does_not_run(configuration: Path, tmp_path: Path) -> None:
    code, told = run("route", "health", "--configuration", configuration)
    assert code == 9
    assert json.loads(told)["running"] is False
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "health.json").write_text(json.dumps({"well": True, "time": time.time()}))
    assert run("route", "health", "--configuration", configuration)[0] == 0


@pytest.mark.slow
@pytest.mark.server
def test_a_study_through_the_whole_of_it(tmp_path: Path) -> None:
    """The command itself, with the shipped weights: from a watched folder to a folder of results."""
    watch = f'[watch]\nfolder = "{tmp_path}/drop"\nsettle_seconds = 0.5\ninterval_seconds = 0.2\n'
    destination = f'[destination]\nkind = "folder"\nfolder = "{tmp_path}/results"\n'
    configuration = written(tmp_path, "quiet_seconds = 0.5\nreserve_megabytes = 16\n" + watch + destination)
    write_dicom(make(shape=(40, 96, 96), spacing=(8.0, 3.5, 3.5)), tmp_path / "drop" / "study")
    command = [sys.executable, "-m", "covid_bert.cli", "route", "run", "--configuration", str(configuration)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 600
        while time.monotonic() < end and process.poll() is None:
            if any(study["state"] in ("done", "set-aside") for study in _listed(tmp_path / "spool")):
                break
            time.sleep(0.5)
        (study,) = _listed(tmp_path / "spool")
        assert study["state"] == "done", (study, (tmp_path / "log").read_text())
    finally:
        process.terminate()
        assert process.wait(120) == 0
    found = {pydicom.dcmread(path).Modality for path in (tmp_path / "results").rglob("*.dcm")}
    assert {"SEG", "SR", "DOC", "OT"} <= found


def _listed(spool: Path) -> list[dict]:
    if not (spool / "queue.sqlite").exists():
        return []
    queue = Queue(spool)
    try:
        return [study.to_json() for study in queue.studies()]
    finally:
        queue.close()
