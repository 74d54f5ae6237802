"""Refusals before the server starts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from covid_bert.errors import ParameterError
from covid_bert.server.certificate import check_certificate
from covid_bert.server.configuration import ServerConfiguration
from covid_bert.server.launch import prepare, serve
from needed import require_module


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
    with pytest.raises(ParameterError, match="file is a file, not a folder"):
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


def test_of_certificate_and_key_the_wrong_one_is_named(tmp_path) -> None:
    (certificate, key), (_, other) = (self_signed(tmp_path, name) for name in ("ct", "other"))
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("nothing")

    def tried(certificate: Path, key: Path) -> str:
        check_certificate(ServerConfiguration(studies=tmp_path, tls_certificate=certificate, tls_key=key))
        return "good"

    assert tried(certificate, key) == "good"
    for pair, said in (
        ((nothing, key), "certificate for TLS, nothing.pem,"),
        ((certificate, nothing), "key for TLS, nothing.pem,"),
        ((key, certificate), "certificate for TLS, ct.key,"),
        ((certificate, other), "ct.pem and the key other.key for TLS do not belong together"),
        ((tmp_path / "away.pem", key), "certificate for TLS, away.pem, cannot be read: No such file"),
        ((certificate, tmp_path / "away.key"), "key for TLS, away.key, cannot be read: No such file"),
    ):
        with pytest.raises(ParameterError, match=said):
            tried(*pair)


def self_signed(folder: Path, name: str) -> tuple[Path, Path]:
    require_module("cryptography", "pip install cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private, subject = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    begin = datetime(2026, 1, 1, tzinfo=timezone.utc)
    builder = x509.CertificateBuilder(subject, subject, private.public_key(), 1, begin, begin + timedelta(days=1))
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(builder.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    kind = serialization.PrivateFormat.PKCS8
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption()))
    return certificate, key


def test_start_and_tokens_need_no_web_library_until_the_server_runs() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['starlette', 'fastapi', 'uvicorn', 'monailabel'])); "
        "import covid_bert.server.launch, covid_bert.commands.serve, covid_bert.commands.token"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
