"""The container's health check trusts the server's own certificate, also where that is signed by an issuer."""

from __future__ import annotations

import datetime
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from needed import REPOSITORY


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


def signed_by_an_issuer(folder: Path) -> tuple[Path, Path]:
    """Write a server's certificate without that of its issuer, as most issuers send it, and its key."""
    own, issuers = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ct.example.org")]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "the hospital's issuer")]))
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("ct.example.org")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(issuers, hashes.SHA256())
    )
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "ct.pem").write_bytes(certificate.public_bytes(encoding))
    (folder / "ct.key").write_bytes(own.private_bytes(encoding, form, serialization.NoEncryption()))
    return folder / "ct.pem", folder / "ct.key"


def test_a_certificate_of_an_issuer_is_healthy_and_another_one_is_not(tmp_path: Path) -> None:
    certificate, key = signed_by_an_issuer(tmp_path)
    (tmp_path / "other").mkdir()
    other, _ = signed_by_an_issuer(tmp_path / "other")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        check = [sys.executable, str(REPOSITORY / "docs" / "deployment" / "healthcheck.py")]
        try:
            for trusted, code in ((certificate, 0), (other, 1)):
                environment = {
                    "COVID_BERT_SERVE_PORT": str(server.server_address[1]),
                    "COVID_BERT_SERVE_TLS_CERTIFICATE": str(trusted),
                }
                assert subprocess.run(check, env=environment, timeout=60).returncode == code
        finally:
            server.shutdown()
