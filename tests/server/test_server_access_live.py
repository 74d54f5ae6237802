"""The real server with tokens, TLS and limits: every route it offers, and those of MONAI Label that it must not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from served import self_signed

from covid_bert.server.access import ACCESS, Role
from covid_bert.server.headers import SECURITY_HEADERS
from covid_bert.server.tokens import TokenFile
from needed import REPOSITORY, require_module

pytestmark = [pytest.mark.server, pytest.mark.slow]
OPEN = {"/healthz": 200, "/readyz": 200, "/version": 200, "/auth/": 200, "/auth/token": 422}
ROUTES = """
import json, sys
from pathlib import Path
from covid_bert.server.configuration import ServerConfiguration
from covid_bert.server.launch import prepare
configuration = ServerConfiguration(studies=Path(sys.argv[1]))
prepare(configuration)
from covid_bert.server.application import create_routes
from covid_bert.server.metrics import Metrics
from covid_bert.server.tokens import LiveTokens, TokenFile
app = create_routes(configuration, LiveTokens(TokenFile(Path(sys.argv[1]) / "tokens.json")), Metrics())
print("ROUTES", json.dumps([[sorted(getattr(r, "methods", None) or []), getattr(r, "path", None)] for r in app.routes]))
from monailabel.interfaces.utils.app import app_instance
print("MASKS", app_instance().datastore()._writing.check_mask.__qualname__)
"""


@dataclass(frozen=True)
class Guarded:
    url: str
    certificate: Path
    tokens: TokenFile
    secrets: dict[Role, str]
    studies: Path
    log: Path

    def ask(self, method: str, path: str, role: Role | None = Role.ADMIN, **options) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.secrets[role]}"} if role is not None else {}
        headers |= options.pop("headers", {})
        url = f"{self.url}{path}"
        return requests.request(method, url, headers=headers, verify=str(self.certificate), timeout=600, **options)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")
    from covid_bert.server.launch import running_server

    folder = tmp_path_factory.mktemp("guarded")
    studies = folder / "studies"
    studies.mkdir()
    (studies / "lung1.nrrd").write_bytes((REPOSITORY / "sample-data" / "lung1_image.nrrd").read_bytes())
    certificate, key = self_signed(folder)
    tokens = TokenFile(folder / "tokens.json")
    secrets = {role: tokens.add(role.value, role) for role in Role}
    options = [
        *("--tokens-file", str(tokens.path), "--tls-certificate", str(certificate), "--tls-key", str(key)),
        *("--body-megabytes", "64", "--sessions", "1"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COVID_BERT_HOME", str(folder / "home"))
        log = folder / "server.log"
        with running_server(studies, log, timeout=1800, options=options, certificate=certificate) as url:
            yield Guarded(url, certificate, tokens, secrets, studies, log)


def offered(guarded: Guarded) -> list[tuple[str, str]]:
    document = guarded.ask("GET", "/openapi.json").json()
    return [(method.upper(), path) for path, methods in document["paths"].items() for method in methods]


def test_every_route_of_the_document_has_an_entry_and_needs_a_token(guarded: Guarded) -> None:
    routes = offered(guarded)
    assert {("GET", "/info/"), ("POST", "/infer/{model}"), ("PUT", "/datastore/label"), ("POST", "/jobs")} <= set(
        routes
    )
    for method, path in routes:
        assert (method, path) in ACCESS
        reply = guarded.ask(method, re.sub(r"\{.*?\}", "x", path), role=None)
        assert reply.status_code == OPEN.get(path, 401), (method, path)
        for name, value in SECURITY_HEADERS.items():
            assert reply.headers[name] == value


def test_every_route_of_the_application_has_an_entry(tmp_path: Path) -> None:
    environment = {**os.environ, "COVID_BERT_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", ROUTES, str(tmp_path / "studies")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=3600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "MASKS MaskChecker.check" in done.stdout.splitlines(), "masks are decoded in the server's process"
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("ROUTES ")]
    routes = {(method, path) for methods, path in json.loads(line.removeprefix("ROUTES ")) for method in methods}
    # Starlette answers HEAD wherever it answers GET; the table does not let it through.
    assert routes - {("HEAD", "/openapi.json")} == set(ACCESS)


def test_roles_hold_for_every_route(guarded: Guarded) -> None:
    for method, path in offered(guarded):
        needed = ACCESS[method, path].role
        for role in Role:
            if needed is not None and not role.covers(needed):
                reply = guarded.ask(method, re.sub(r"\{.*?\}", "x", path), role)
                assert reply.status_code == 403, (method, path, role)
                assert reply.json()["detail"]["code"] == "not-allowed"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *[("POST", "/reload"), ("GET", "/proxy/dicom/wado/x"), ("GET", "/logs/"), ("GET", "/logs/gpu")],
        *[("PUT", "/model/lungs"), ("DELETE", "/model/lungs"), ("POST", "/token")],
        *[("GET", "/model/lungs"), ("GET", "/model/info/lungs")],
        *[("GET", "/static/x"), ("GET", "/ohif/"), ("GET", "/docs"), ("GET", "/")],
    ],
)
def test_stock_routes_that_are_not_offered(guarded: Guarded, method: str, path: str) -> None:
    assert guarded.ask(method, path, role=None).status_code == 401
    reply = guarded.ask(method, path)
    assert reply.status_code == 404
    assert reply.json()["detail"]["code"] == "not-found"
    assert reply.headers["X-Frame-Options"] == "DENY"


def test_a_revoked_token_is_refused_at_once(guarded: Guarded) -> None:
    secret = guarded.tokens.add("for-a-while", Role.READER)
    headers = {"Authorization": f"Bearer {secret}"}
    assert guarded.ask("GET", "/info/", role=None, headers=headers).status_code == 200
    guarded.tokens.revoke("for-a-while")
    assert guarded.ask("GET", "/info/", role=None, headers=headers).status_code == 401
    assert secret not in guarded.log.read_text()


def test_a_reader_may_not_save_the_label_of_an_inference(guarded: Guarded) -> None:
    files = {"params": (None, '{"save_label": true}')}
    reply = guarded.ask("POST", "/infer/lungs?image=lung1", Role.READER, files=files)
    assert reply.status_code == 403
    assert reply.json()["detail"]["code"] == "not-allowed"


def test_uploads_are_not_unpacked_and_there_are_only_so_many(guarded: Guarded) -> None:
    path = "/session/?uncompress=true"
    refused = guarded.ask("PUT", path, Role.READER, files={"files": ("a.nii", b"x")})
    assert refused.status_code == 422
    odd = guarded.ask("PUT", "/session/", Role.READER, files={"files": ("..", b"x")})
    assert odd.status_code == 422
    first = guarded.ask("PUT", "/session/", Role.READER, files={"files": ("a.nii", b"x")})
    assert first.status_code == 200
    second = guarded.ask("PUT", "/session/", Role.READER, files={"files": ("a.nii", b"x")})
    assert second.status_code == 429
    assert int(second.headers["Retry-After"]) > 0
    session = first.json()["session_id"]
    assert guarded.ask("DELETE", f"/session/{session}", Role.READER).status_code == 200


def test_wrong_fields_are_named_and_not_repeated(guarded: Guarded) -> None:
    reply = guarded.ask("GET", "/datastore/?output=patient-name")
    assert reply.status_code == 422
    assert "output" in reply.json()["detail"]["message"]
    assert "patient-name" not in reply.text


def test_an_upload_over_the_limit_is_refused_while_it_is_read(guarded: Guarded) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'--part\r\nContent-Disposition: form-data; name="label"; filename="a.nii"\r\n\r\n'
        for _ in range(65):
            yield b"x" * 2**20

    headers = {"Content-Type": "multipart/form-data; boundary=part"}
    reply = guarded.ask("PUT", "/datastore/label?image=lung1", data=pieces(), headers=headers)
    assert reply.status_code == 413
    assert reply.json()["detail"]["request_id"] == reply.headers["X-Request-ID"]
    assert not list(guarded.studies.glob("labels/**/*a.nii*"))


def test_versions_and_numbers(guarded: Guarded) -> None:
    assert guarded.ask("GET", "/version", role=None).json()["monailabel"].startswith("0.8.")
    text = guarded.ask("GET", "/metrics").text
    assert "covid_bert_queue_length 0.0" in text
    assert 'route="/version"' in text


def test_readiness_names_what_is_missing(guarded: Guarded) -> None:
    assert guarded.ask("GET", "/readyz", role=None).json() == {"status": "ready"}
    hidden = guarded.studies.with_name("hidden")
    guarded.studies.rename(hidden)
    try:
        reply = guarded.ask("GET", "/readyz", role=None)
        assert reply.status_code == 503
        assert "studies" in reply.json()["detail"]["message"]
        assert guarded.ask("GET", "/healthz", role=None).status_code == 200
    finally:
        hidden.rename(guarded.studies)
