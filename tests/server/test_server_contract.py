"""All routes of the OpenAPI document: no unknown key is taken, and nothing that is sent ends in a 500."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from covid_bert.server.access import Role
from covid_bert.server.tokens import TokenFile
from needed import REPOSITORY, require_module

pytestmark = [pytest.mark.server, pytest.mark.slow]
# Of each route, once with values that fit the document and once with ones that do not.
EXAMPLES = 15
OWN_STATUSES = {400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 422, 429, 503, 507}


@dataclass(frozen=True)
class Offered:
    url: str
    headers: dict[str, str]
    document: dict[str, Any]
    log: Path

    def routes(self) -> list[tuple[str, str, dict[str, Any]]]:
        paths = self.document["paths"].items()
        return [(method.upper(), path, route) for path, methods in paths for method, route in methods.items()]


@pytest.fixture(scope="module")
def offered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Offered]:
    require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")
    from covid_bert.server.launch import running_server

    folder = tmp_path_factory.mktemp("contract")
    studies = folder / "studies"
    studies.mkdir()
    (studies / "lung1.nrrd").write_bytes((REPOSITORY / "sample-data" / "lung1_image.nrrd").read_bytes())
    tokens = TokenFile(folder / "tokens.json")
    headers = {"Authorization": f"Bearer {tokens.add('root', Role.ADMIN)}"}
    options = ["--tokens-file", str(tokens.path), "--requests-per-minute", "1000000", "--session-megabytes", "64"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COVID_BERT_HOME", str(folder / "home"))
        with running_server(studies, folder / "server.log", timeout=1800, options=options) as url:
            document = requests.get(f"{url}/openapi.json", headers=headers, timeout=60).json()
            yield Offered(url, headers, document, folder / "server.log")


def body_of(route: dict[str, Any]) -> str:
    """The media type that a route takes, or nothing."""
    return next(iter(route.get("requestBody", {}).get("content", {})), "")


def test_no_route_takes_an_unknown_parameter_of_the_address(offered: Offered) -> None:
    assert len(offered.routes()) > 25
    for method, path, _ in offered.routes():
        url = f"{offered.url}{path.replace('{', '').replace('}', '')}?no_such_key=patient-name"
        reply = requests.request(method, url, headers=offered.headers, timeout=60)
        assert reply.status_code == 422, (method, path)
        if method != "HEAD":
            assert "patient-name" not in reply.text


def test_no_route_takes_an_unknown_field_of_a_form(offered: Offered) -> None:
    taking = [(method, path) for method, path, route in offered.routes() if "form" in body_of(route)]
    assert {("POST", "/infer/{model}"), ("PUT", "/session/"), ("PUT", "/datastore/label")} <= set(taking)
    for method, path in taking:
        files = dict.fromkeys(("file", "files", "label"), ("a.nii", b"x"))
        query = {"image": "lung1", "tag": "final", "label": "lung1"}
        for fields in ({"no_such_key": "1"}, {"image_file": "x"}):
            reply = requests.request(
                method,
                f"{offered.url}{path.replace('{', '').replace('}', '')}",
                headers=offered.headers,
                data=fields,
                files=files,
                params={name: query[name] for name in query if name in parameters(offered, method, path)},
                timeout=60,
            )
            assert reply.status_code == 422, (method, path)


def test_no_route_takes_an_unknown_key_of_json(offered: Offered) -> None:
    taking = [(method, path) for method, path, route in offered.routes() if "json" in body_of(route)]
    assert {("POST", "/jobs"), ("POST", "/activelearning/{strategy}"), ("POST", "/batch/infer/{model}")} <= set(taking)
    known = {"/jobs": {"model": "lungs", "image": "lung1"}, "/batch/infer/{model}": {"images": ["lung1"]}}
    for method, path in taking:
        names = {"model": "lungs", "strategy": "first", "method": "study_scores", "session_id": "x", "identifier": "x"}
        url = f"{offered.url}{path.format(**names)}"
        query = {name: "lung1" for name in parameters(offered, method, path) if name == "image"}
        body = {**known.get(path, {}), "no_such_key": 1}
        reply = requests.request(method, url, headers=offered.headers, json=body, params=query, timeout=60)
        assert reply.status_code == 422, (method, path, reply.text)


def parameters(offered: Offered, method: str, path: str) -> set[str]:
    route = offered.document["paths"][path][method.lower()]
    return {item["name"] for item in route.get("parameters", []) if item["in"] == "query"}


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["fitting", "unfitting"])
def test_nothing_that_is_sent_ends_in_an_unknown_error(offered: Offered, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_dict(offered.document)
    asked = 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def send(case: schemathesis.Case) -> None:
            nonlocal asked
            reply = case.call(base_url=offered.url, headers=offered.headers, timeout=120)
            asked += 1
            assert reply.status_code < 400 or reply.status_code in OWN_STATUSES, case.as_curl_command()
            if reply.status_code >= 400 and case.method.upper() != "HEAD" and reply.content:
                assert set(json.loads(reply.content)["detail"]) == {"code", "message", "hint", "request_id"}

        try:
            send()
        except Unsatisfiable:
            # Every text is a fitting part of a path: such a request cannot be made unfitting.
            route = offered.document["paths"][operation.path][operation.method.lower()]
            assert mode is GenerationMode.NEGATIVE
            assert "requestBody" not in route
            assert all(item["in"] == "path" for item in route.get("parameters", []))
    assert asked > 25
    assert requests.get(f"{offered.url}/readyz", timeout=60).status_code == 200
    assert "Traceback" not in offered.log.read_text()
