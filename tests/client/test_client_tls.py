"""Certificates: what is trusted, and what is never sent to a server that is not."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import scripted_server
from certificates import make_certificate
from scripted_server import TOKEN, Server, cut, job, reply

from covid_bert.client import (
    Backoff,
    CertificateError,
    Client,
    ConnectionLostError,
    WrongServerError,
)
from covid_bert.client.connection import _tls

ONCE = Backoff(attempts=1)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def tls_server(certificate) -> Iterator[Server]:
    with scripted_server.running(*certificate) as running:
        yield running


def test_own_certificate_with_its_file(tls_server, certificate, tmp_path) -> None:
    tls_server.script.update(
        {"/info/": [reply(200, {"models": {}})], f"/jobs/{job()['id']}/file": [reply(200, b"mask")]}
    )
    tls_server.script["/session/"] = [reply(200, {"session_id": "one"})]
    tls_server.script["/jobs"] = [reply(202, job())]
    client = Client(tls_server.url, TOKEN, ca_file=certificate[0], backoff=ONCE)
    study = tmp_path / "study.zip"
    study.write_bytes(b"z" * 200_000)
    assert client.info() == {"models": {}}
    submitted = client.submit("lungs", session_id=client.upload(study))
    assert client.download(submitted, tmp_path / "mask.nii.gz").read_bytes() == b"mask"


@pytest.mark.parametrize("name", ["", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_own_certificate_without_its_file(tls_server, certificate, monkeypatch, name) -> None:
    if name:
        monkeypatch.setenv(name, str(certificate[0]))
    with pytest.raises(CertificateError, match=r"self[- ]signed") as caught:
        Client(tls_server.url, TOKEN, backoff=ONCE).info()
    assert "CA file" in caught.value.hint
    assert tls_server.requests == []


def test_certificate_of_another(tls_server, tmp_path) -> None:
    other, _ = make_certificate(tmp_path, name="other")
    with pytest.raises(CertificateError):
        Client(tls_server.url, TOKEN, ca_file=other, backoff=ONCE).info()
    assert tls_server.requests == []


def test_given_certificates_stand_in_the_place_of_the_systems(tls_server, certificate, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    other, _ = make_certificate(tmp_path, name="other")
    with pytest.raises(CertificateError):
        Client(tls_server.url, TOKEN, ca_file=other, backoff=ONCE).info()
    assert tls_server.requests == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_tls_is_not_spoken_also_where_the_system_allows_it(monkeypatch) -> None:
    lenient = ssl.create_default_context()
    lenient.minimum_version = ssl.TLSVersion.TLSv1
    monkeypatch.setattr(ssl, "create_default_context", lambda **_: lenient)
    assert _tls(None).minimum_version == ssl.TLSVersion.TLSv1_2


def test_certificate_for_another_host(tmp_path) -> None:
    certificate, key = make_certificate(tmp_path, host="127.0.0.2")
    with scripted_server.running(certificate, key) as server:
        with pytest.raises(CertificateError, match="not valid for") as caught:
            Client(server.url, TOKEN, ca_file=certificate, backoff=ONCE).info()
        assert "the name that the server's certificate is for" in caught.value.hint
        assert server.requests == []


def test_certificate_that_has_ended(tmp_path) -> None:
    certificate, key = make_certificate(tmp_path, hours=-1)
    with scripted_server.running(certificate, key) as server:
        with pytest.raises(CertificateError, match="expired") as caught:
            Client(server.url, TOKEN, ca_file=certificate, backoff=ONCE).info()
        assert "renew" in caught.value.hint
        assert server.requests == []


def test_server_without_tls() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with pytest.raises(WrongServerError, match="does not speak TLS") as caught:
            Client(f"https://127.0.0.1:{listener.getsockname()[1]}", TOKEN, backoff=ONCE).info()
        thread.join(5)
    assert "http or https" in caught.value.hint


def test_server_with_tls_that_is_asked_without(tls_server) -> None:
    with pytest.raises((ConnectionLostError, WrongServerError)) as caught:
        Client(tls_server.url.replace("https:", "http:"), TOKEN, backoff=ONCE).info()
    assert tls_server.requests == []
    assert caught.value.hint


def test_connection_that_ends_within_tls(tls_server, certificate, tmp_path) -> None:
    tls_server.script.update({"/jobs": [reply(202, job())], f"/jobs/{job()['id']}/file": [cut(b"half", 8)]})
    client = Client(tls_server.url, TOKEN, ca_file=certificate[0], backoff=ONCE)
    with pytest.raises(ConnectionLostError):
        client.download(client.submit("lungs", image="study-1"), tmp_path / "mask.nii.gz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_file_that_holds_no_certificates(tmp_path, content) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    what = "cannot be read: No such file" if content is None else "holds no certificates"
    with pytest.raises(CertificateError, match=rf"ca\.pem {what}"):
        Client("https://server.example", TOKEN, ca_file=path)
