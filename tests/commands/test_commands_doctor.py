"""`covid-bert doctor`: each fault is found, and the line says how to mend it."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from covid_bert.cli import app
from covid_bert.commands import doctor_installation as installation
from covid_bert.commands import doctor_server as server
from covid_bert.commands.doctor import _guarded, examine
from covid_bert.commands.doctor_check import FAULT, NOTE, OK, Check
from covid_bert.server.access import Role
from covid_bert.server.audit import AuditLog, default_audit_folder
from covid_bert.server.configuration import ServerConfiguration, load
from covid_bert.server.launch import only_server_of
from covid_bert.server.tokens import TokenFile, default_tokens_file
from covid_bert.weights.location import home

ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def configured(folder: Path, **settings: object) -> ServerConfiguration:
    (folder / "studies").mkdir(exist_ok=True)
    return load({"studies": folder / "studies", **settings}, environment={})


def run(check, *arguments) -> Check:
    found = _guarded(check.__name__, lambda: check(*arguments))
    if found.state == FAULT:
        assert found.remedy, "a fault says how to mend it"
    return found


def test_tokens_file(tmp_path: Path) -> None:
    assert run(server.tokens, None).state == NOTE
    here = configured(tmp_path)
    elsewhere = configured(tmp_path, host="192.0.2.1")
    assert "no token" in run(server.tokens, elsewhere).finding
    TokenFile(default_tokens_file()).add("anna", Role.READER)
    assert run(server.tokens, here).state == OK
    assert "unencrypted" in run(server.tokens, elsewhere).finding
    default_tokens_file().chmod(0o644)
    found = run(server.tokens, here)
    assert (found.state, "chmod 600" in found.remedy) == (FAULT, True)


def certified(folder: Path, begins: timedelta, ends: timedelta, *, mode: int = 0o600) -> ServerConfiguration:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ct.example.org")])
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now + begins).not_valid_after(now + ends)
    names = x509.SubjectAlternativeName([x509.DNSName("ct.example.org"), x509.DNSName("*.wild.example")])
    certificate = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    (folder / "ct.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "ct.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / "ct.key").chmod(mode)
    return configured(
        folder,
        tls_certificate=folder / "ct.pem",
        tls_key=folder / "ct.key",
        allowed_hosts=["ct.example.org", "a.wild.example"],
    )


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("begins", "ends", "mode", "state", "finding"),
    [
        (-DAY, 90 * DAY, 0o600, OK, "valid until"),
        (-DAY, 5 * DAY, 0o600, NOTE, "it ends on"),
        (-9 * DAY, -DAY, 0o600, FAULT, "it ended on"),
        (DAY, 9 * DAY, 0o600, FAULT, "it is valid from"),
        (-DAY, 90 * DAY, 0o644, FAULT, "other users may read ct.key"),
    ],
)
def test_certificates(tmp_path: Path, begins, ends, mode: int, state: str, finding: str) -> None:
    found = run(server.certificate, certified(tmp_path, begins, ends, mode=mode))
    assert found.state == state
    assert found.finding.startswith(finding)


@pytest.mark.skipif(not ROOT, reason="only root's keys are read by a group")
def test_a_key_of_roots_may_be_read_by_the_servers_group(tmp_path: Path) -> None:
    configuration = certified(tmp_path, -DAY, 90 * DAY, mode=0o640)
    assert run(server.certificate, configuration).state == OK
    (tmp_path / "ct.key").chmod(0o644)
    found = run(server.certificate, configuration)
    assert (found.state, "chmod 640" in found.remedy) == (FAULT, True)
    (tmp_path / "ct.key").chmod(0o640)
    os.chown(tmp_path / "ct.key", 12345, -1)
    assert run(server.certificate, configuration).state == FAULT


def test_a_certificate_for_other_names_or_with_another_key(tmp_path: Path) -> None:
    good = certified(tmp_path, -DAY, 90 * DAY)
    other = good.model_copy(update={"allowed_hosts": ("ct.example.org", "a.b.wild.example")})
    found = run(server.certificate, other)
    assert (found.state, found.finding) == (NOTE, "it is not for a.b.wild.example")
    (tmp_path / "other").mkdir()
    certified(tmp_path / "other", -DAY, 90 * DAY)
    (tmp_path / "other" / "ct.key").replace(tmp_path / "ct.key")
    assert run(server.certificate, good).state == FAULT


def test_a_taken_port(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        configuration = configured(tmp_path, port=taken.getsockname()[1])
        assert run(server.port, configuration).state == FAULT
        with only_server_of(configuration.studies):
            assert run(server.port, configuration).state == OK
        # A server of other studies runs: this one could not be started beside it.
        (home() / "jobs" / "other").mkdir(parents=True)
        with FileLock(home() / "jobs" / "other" / "lock"):
            assert run(server.port, configuration).state == FAULT
            assert run(server.port, None).state in {OK, NOTE}
    assert run(server.port, configuration).state == OK


def test_the_folder_with_studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = configured(tmp_path)
    assert run(server.studies, configuration).state == OK
    with monkeypatch.context() as patch:
        patch.setattr(server, "LEAST_DISK", 2**60)
        assert run(server.studies, configuration).state == FAULT
    if not ROOT:
        (tmp_path / "studies").chmod(0o500)
        assert run(server.studies, configuration).state == FAULT
        (tmp_path / "studies").chmod(0o700)
    (tmp_path / "studies").rmdir()
    assert run(server.studies, configuration).state == FAULT


def test_a_lock_that_is_held_is_told_with_its_holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_LOCK_SECONDS", 0.1)
    configuration = configured(tmp_path)
    assert run(server.locks, configuration).state == OK
    path = configuration.studies / ".lock"
    code = "import sys, filelock\nwith filelock.FileLock(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        found = run(server.locks, configuration)
        assert found.state == FAULT
        if Path("/proc/locks").exists():
            assert f"process {holder.pid} holds .lock of studies" in found.finding
        holder.communicate()
    assert run(server.locks, configuration).state == OK


def test_what_a_killed_server_or_command_left(tmp_path: Path) -> None:
    configuration = configured(tmp_path)
    assert run(server.leftovers, configuration).state == OK
    (configuration.studies / ".restore-x").mkdir()
    assert run(server.leftovers, configuration).state == NOTE
    (configuration.studies / ".restore-x").rmdir()
    (home() / "temporary" / "server-1").mkdir(parents=True)
    assert run(server.leftovers, None).state == NOTE
    with FileLock(home() / "temporary" / "server-1" / "lock"):
        assert run(server.leftovers, None).state == OK
        # One that was killed beside one that runs, of whichever studies.
        (home() / "temporary" / "server-2").mkdir()
        with only_server_of(configuration.studies):
            assert run(server.leftovers, configuration).state == NOTE


def test_the_list_of_jobs() -> None:
    assert run(server.jobs, None).state == OK
    path = home() / "jobs" / "some" / server.DATABASE
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE job (id TEXT)")
        database.executemany("INSERT INTO job VALUES (?)", [("x" * 200,)] * 200)
    database.close()
    assert run(server.jobs, None).state == OK
    content = bytearray(path.read_bytes())
    content[5000:9000] = b"\xff" * 4000
    path.write_bytes(content)
    found = run(server.jobs, None)
    assert (found.state, found.finding) == (FAULT, "the list in some is damaged")
    path.write_bytes(b"no database")
    assert run(server.jobs, None).state == FAULT


def test_the_audit_log(monkeypatch: pytest.MonkeyPatch) -> None:
    AuditLog(default_audit_folder()).append("label-written")
    assert run(server.audit_log, None).state == OK

    class Earlier(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) - timedelta(days=2)

    with monkeypatch.context() as patch:
        patch.setattr(server, "datetime", Earlier)
        assert "future" in run(server.audit_log, None).finding
    file = default_audit_folder() / "audit.jsonl"
    file.write_text(file.read_text().replace("label", "image"))
    found = run(server.audit_log, None)
    assert (found.state, "audit.jsonl:1" in found.finding) == (FAULT, True)


def test_a_check_that_breaks_is_a_fault_and_stops_no_other() -> None:
    def broken() -> Check:
        raise ZeroDivisionError

    assert _guarded("some_check", broken).subject == "some check"
    assert _guarded("some_check", broken).state == FAULT


def test_a_data_folder_that_is_none_is_a_fault_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("COVID_BERT_HOME", str(tmp_path / "file" / "home"))
    found = _guarded("weights", installation.weights)
    assert (found.state, "COVID_BERT_HOME" in found.remedy) == (FAULT, True)
    assert str(tmp_path) not in found.finding


def test_a_wrong_configuration_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covid_bert.commands.doctor.INSTALLATION_CHECKS", ())
    file = tmp_path / "serve.toml"
    file.write_text('studies = "x"\nunknown = 1\n')
    checks = examine(None, file)
    assert (checks[0].subject, checks[0].state) == ("configuration", FAULT)
    assert "unknown" in checks[0].finding
    assert len(checks) == 3 + len(server.SERVER_CHECKS)


@pytest.mark.skipif(os.name == "nt", reason="no owners of this kind")
def test_another_user_is_told_so_and_touches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covid_bert.commands.doctor.INSTALLATION_CHECKS", ())
    monkeypatch.setattr(server.os, "geteuid", lambda: 12345)
    (check,) = examine(tmp_path, None)
    assert (check.subject, check.state) == ("user", FAULT)
    assert "sudo -u" in check.remedy


def test_lines_and_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covid_bert.commands.doctor.INSTALLATION_CHECKS", (installation.clock,))
    default_tokens_file().write_text("{")
    default_tokens_file().chmod(0o600)
    shown = CliRunner().invoke(app, ["doctor"])
    assert shown.exit_code == 1
    (line,) = [line for line in shown.output.splitlines() if line.startswith("fault")]
    assert "tokens.json cannot be read or is damaged" in line
    assert "damaged. Bring it back from a copy" in line
    found = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).output)
    assert found["faults"] == 1
    assert {"subject", "state", "finding", "remedy"} == set(found["checks"][0])
    default_tokens_file().unlink()
    assert CliRunner().invoke(app, ["doctor", "--studies", str(tmp_path)]).exit_code == 0
