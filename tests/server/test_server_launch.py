"""Refusals before the server starts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from covid_bert.errors import ParameterError
from covid_bert.server.configuration import ServerConfiguration
from covid_bert.server.launch import prepare, serve


@pytest.fixture(autouse=True)
def _restore_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("MONAI_LABEL_"):
            monkeypatch.delenv(name)
    before = dict(os.environ)
    yield
    for name in set(os.environ) - set(before):
        del os.environ[name]


def test_a_taken_port_is_a_sentence_and_exit_code_9(tmp_path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "covid_bert.cli", "serve", "--studies", str(tmp_path), "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 9
    assert f"Port {port}" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_studies_folder_that_is_a_file_is_refused(tmp_path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ParameterError):
        prepare(ServerConfiguration(studies=tmp_path / "file"))


def test_other_machines_are_refused_before_anything_is_made(tmp_path) -> None:
    configuration = ServerConfiguration(studies=tmp_path / "studies", host="0.0.0.0", allowed_hosts=("ct.example.org",))
    with pytest.raises(ParameterError, match="no token"):
        serve(configuration)
    assert not configuration.studies.exists()
    assert "MONAI_LABEL_STUDIES" not in os.environ


def test_a_certificate_that_cannot_be_used_is_a_sentence(tmp_path) -> None:
    (tmp_path / "cert.pem").write_text("nothing")
    (tmp_path / "key.pem").write_text("nothing")
    configuration = ServerConfiguration(
        studies=tmp_path / "studies", tls_certificate=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem"
    )
    with pytest.raises(ParameterError, match="certificate"):
        serve(configuration)


def test_start_and_tokens_need_no_web_library_until_the_server_runs() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['starlette', 'fastapi', 'uvicorn', 'monailabel'])); "
        "import covid_bert.server.launch, covid_bert.commands.serve, covid_bert.commands.token"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
