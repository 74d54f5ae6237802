"""The unit for systemd and the container: what can be checked without running them."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from served import self_signed, served
from typer.testing import CliRunner

from covid_bert.cli import app
from covid_bert.server.configuration import PREFIX, ServerConfiguration
from covid_bert.server.tokens import TokenFile
from needed import REPOSITORY

DEPLOYMENT = REPOSITORY / "docs" / "deployment"
UNITS = sorted(path for path in DEPLOYMENT.iterdir() if path.suffix in {".service", ".timer"})


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (package systemd)")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for unit in UNITS:
        # The program lies elsewhere on this machine.
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/covid-bert/bin/covid-bert", sys.executable))
    command = ["systemd-analyze", "verify", *(str(tmp_path / unit.name) for unit in UNITS)]
    checked = subprocess.run(command, capture_output=True, text=True)
    own = [line for line in checked.stderr.splitlines() if "covid-bert" in line]
    assert (checked.returncode, own) == (0, [])


def test_units_run_as_another_user_and_can_write_little() -> None:
    for unit in (path for path in UNITS if path.suffix == ".service"):
        lines = unit.read_text().splitlines()
        for wanted in (
            "User=covid-bert",
            "UMask=0077",
            "NoNewPrivileges=yes",
            "ProtectSystem=strict",
            "PrivateTmp=yes",
        ):
            assert wanted in lines, (unit.name, wanted)


def test_many_idle_connections_do_not_use_up_the_servers_file_handles() -> None:
    (limit,) = re.findall(r"^LimitNOFILE=(\d+)$", (DEPLOYMENT / "covid-bert.service").read_text(), re.MULTILINE)
    assert int(limit) >= 2**16


def test_the_manager_stops_the_server_and_the_server_its_worker() -> None:
    assert "KillMode=mixed" in (DEPLOYMENT / "covid-bert.service").read_text().splitlines()


def instructions() -> list[list[str]]:
    text = re.sub(r"\\\n", " ", (DEPLOYMENT / "Containerfile").read_text())
    return [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]


def test_the_container_has_no_rights_and_a_health_check() -> None:
    found = instructions()
    last_stage = found[max(index for index, line in enumerate(found) if line[0] == "FROM") :]
    names = [line[0] for line in last_stage]
    assert dict(last_stage)["USER"] == "10001:10001"
    assert names.index("USER") > max(index for index, name in enumerate(names) if name in {"RUN", "COPY"})
    assert "healthcheck.py" in dict(last_stage)["HEALTHCHECK"]
    assert {"ENTRYPOINT", "CMD", "VOLUME", "STOPSIGNAL"} <= set(names)


def test_names_of_files_and_settings_in_the_container_exist() -> None:
    text = (DEPLOYMENT / "Containerfile").read_text() + (DEPLOYMENT / "healthcheck.py").read_text()
    settings = {name.lower() for name in re.findall(rf"{PREFIX}([A-Z_]+)", text)}
    assert settings
    assert settings <= set(ServerConfiguration.model_fields)
    for name, rest in instructions():
        if name == "COPY" and not rest.startswith("--"):
            for source in rest.split()[:-1]:
                assert (REPOSITORY / source).exists(), source


@pytest.mark.parametrize("tls", [False, True])
def test_the_health_check_asks_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tls: bool) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("COVID_BERT_SERVE_PORT", str(port))
    settings: dict[str, object] = {}
    if tls:
        certificate, key = self_signed(tmp_path)
        settings = {"tls_certificate": certificate, "tls_key": key}
        monkeypatch.setenv("COVID_BERT_SERVE_TLS_CERTIFICATE", str(certificate))
    check = [sys.executable, str(DEPLOYMENT / "healthcheck.py")]
    assert subprocess.run(check, timeout=60).returncode == 1
    with served(TokenFile(tmp_path / "tokens.json"), port, **settings):
        assert subprocess.run(check, timeout=60).returncode == 0


def test_commands_of_the_documentation_exist() -> None:
    text = (REPOSITORY / "docs" / "operations.md").read_text()
    shown = set(re.findall(r"covid-bert ((?:token|audit) [a-z]+|doctor|backup|restore|serve)\b", text))
    assert {"doctor", "backup", "restore", "serve", "audit verify", "audit name", "token add"} <= shown
    for command in shown:
        assert CliRunner().invoke(app, [*command.split(), "--help"]).exit_code == 0, command
