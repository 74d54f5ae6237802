"""Each layer in front of the application, over real connections."""

from __future__ import annotations

import asyncio
import http.client
import socket
from pathlib import Path

import pytest
import requests
from served import self_signed, served

from covid_bert.server.access import ACCESS, Role, find
from covid_bert.server.audit import AuditLog
from covid_bert.server.guard import AddressGuard
from covid_bert.server.headers import SECURITY_HEADERS, RequestFrame
from covid_bert.server.limits import RateLimit, _network_of
from covid_bert.server.metrics import Metrics
from covid_bert.server.tokens import TokenFile

MEGABYTE = 2**20


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "tokens.json")


class AnyName(dict):
    def __missing__(self, key: str) -> str:
        return "x"


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def detail(reply: requests.Response, status: int, code: str) -> dict[str, str]:
    assert reply.status_code == status, reply.text
    found = reply.json()["detail"]
    assert found["code"] == code
    assert found["message"]
    assert found["hint"]
    assert found["request_id"] == reply.headers["X-Request-ID"]
    for name, value in SECURITY_HEADERS.items():
        assert reply.headers[name] == value, name
    assert "server" not in reply.headers
    return found


def test_without_tokens_this_machine_may_do_all(tokens, port) -> None:
    with served(tokens, port) as url:
        assert requests.get(f"{url}/info/").json()["caller"] == "local"
        assert requests.delete(f"{url}/datastore/").status_code == 200
        detail(requests.get(f"{url}/logs/"), 404, "not-found")


def test_tokens_and_roles(tokens, port) -> None:
    reader = tokens.add("anna", Role.READER)
    annotator = tokens.add("bert", Role.ANNOTATOR)
    with served(tokens, port) as url:
        missing = requests.get(f"{url}/info/")
        detail(missing, 401, "token-missing")
        assert missing.headers["WWW-Authenticate"] == "Bearer"
        for wrong in (bearer(reader[:-1]), bearer(""), {"Authorization": reader}, {"Authorization": f"Basic {reader}"}):
            detail(requests.get(f"{url}/info/", headers=wrong), 401, "token-refused")
        assert requests.get(f"{url}/info/", headers=bearer(reader)).json()["caller"] == "anna"
        detail(requests.put(f"{url}/datastore/label", headers=bearer(reader)), 403, "not-allowed")
        assert requests.put(f"{url}/datastore/label", headers=bearer(annotator)).json()["caller"] == "bert"
        detail(requests.delete(f"{url}/datastore/", headers=bearer(annotator)), 403, "not-allowed")
        tokens.revoke("bert")
        detail(requests.put(f"{url}/datastore/label", headers=bearer(annotator)), 401, "token-refused")
        assert requests.get(f"{url}/info/", headers=bearer(reader)).status_code == 200
        tokens.path.write_text("{")
        detail(requests.get(f"{url}/info/", headers=bearer(reader)), 503, "server")
        assert requests.get(f"{url}/healthz").status_code == 200


def test_every_route_of_the_table_needs_a_token_but_health_and_login(tokens, port) -> None:
    tokens.add("anna", Role.READER)
    with served(tokens, port) as url:
        unlocked = set()
        for method, path in ACCESS:
            reply = requests.request(method, url + path.format_map(AnyName()))
            assert reply.status_code in {200, 401}
            if reply.status_code == 200:
                unlocked.add(path)
        assert unlocked == {"/healthz", "/readyz", "/version", "/auth/", "/auth/token"}
        for path in ("/", "/reload", "/logs/", "/proxy/dicom/x", "/static/x", "/docs", "/nothing"):
            assert requests.get(f"{url}{path}").status_code == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *[("POST", "/reload"), ("GET", "/proxy/dicom/wado/x"), ("GET", "/logs/"), ("GET", "/logs/gpu")],
        *[("PUT", "/model/lungs"), ("DELETE", "/model/lungs"), ("POST", "/token"), ("GET", "/auth/token")],
        *[("GET", "/"), ("GET", "/docs"), ("GET", "/static/x.js"), ("GET", "/ohif/"), ("POST", "/infer/wsi_v2/x")],
        *[("GET", "/info/../logs/"), ("TRACE", "/info/"), ("OPTIONS", "/info/"), ("HEAD", "/info/")],
    ],
)
def test_what_is_not_in_the_table_has_no_entry(method: str, path: str) -> None:
    assert find(method, path) is None


def test_paths_are_exact() -> None:
    assert find("GET", "/datastore/") is ACCESS["GET", "/datastore/"]
    for path in ("/batch/infer/", "/datastore", "/openapiXjson", "//info/", "/info/x"):
        assert find("GET", path) is None


def test_roles_cover_the_ones_before() -> None:
    assert [[role.covers(needed) for needed in Role] for role in Role] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


def test_unknown_hosts_and_foreign_pages_are_refused(tokens, port) -> None:
    settings = {"allowed_hosts": ["ct.example.org"], "allowed_origins": ["https://viewer.example.org"]}
    with served(tokens, port, **settings) as url:
        for headers in (
            *({"Host": "evil.example"}, {"Host": ""}, {"Host": "127.0.0.1.evil.example"}, {"Host": "[::1"}),
            *({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost:1"}),
            {"Origin": "https://ct.example.org"},
        ):
            for path in ("/info/", "/healthz"):
                detail(requests.get(f"{url}{path}", headers=headers), 403, "forbidden")
        for headers in ({"Host": "ct.example.org"}, {"Host": f"LOCALHOST:{port}"}, {"Origin": url}):
            assert requests.get(f"{url}/info/", headers=headers).status_code == 200
        page = {"Origin": "https://viewer.example.org"}
        reply = requests.get(f"{url}/info/", headers=page)
        assert reply.headers["Access-Control-Allow-Origin"] == page["Origin"]
        asked = requests.options(f"{url}/datastore/label", headers={**page, "Access-Control-Request-Method": "PUT"})
        assert asked.status_code == 200
        evil = {"Origin": "https://evil.example", "Access-Control-Request-Method": "PUT"}
        detail(requests.options(f"{url}/datastore/label", headers=evil), 403, "forbidden")


def sent_by(app, scope: dict) -> list[dict]:
    sent: list[dict] = []

    async def send(message: dict) -> None:
        sent.append(message)

    asyncio.run(app(scope, None, send))
    return sent


def test_a_request_that_names_two_hosts_is_refused() -> None:
    hosts = [(b"host", b"localhost"), (b"host", b"evil.example")]
    for headers in (hosts, hosts[::-1], []):
        sent = sent_by(AddressGuard(None, hosts=["localhost"]), {"type": "http", "headers": headers})
        assert sent[0]["status"] == 403


def test_websockets_are_closed(tmp_path: Path) -> None:
    frame = RequestFrame(None, Metrics(), AuditLog(tmp_path / "audit"))
    assert sent_by(frame, {"type": "websocket", "path": "/info/"}) == [{"type": "websocket.close", "code": 1008}]


def test_a_body_over_the_limit_is_refused_also_without_its_length(tokens, port) -> None:
    with served(tokens, port, body_megabytes=1) as url:
        at_limit = requests.put(f"{url}/datastore/label", data=b"x" * MEGABYTE)
        assert at_limit.json()["bytes"] == MEGABYTE
        detail(requests.put(f"{url}/datastore/label", data=b"x" * (MEGABYTE + 1)), 413, "too-large")
        pieces = (b"x" * 100_000 for _ in range(11))
        detail(requests.put(f"{url}/datastore/label", data=pieces), 413, "too-large")
        within = (b"x" * 100_000 for _ in range(10))
        assert requests.put(f"{url}/datastore/label", data=within).json()["bytes"] == 1_000_000


def test_a_length_far_over_the_limit_is_answered_without_reading_it_all(tokens, port) -> None:
    with served(tokens, port, body_megabytes=1):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.putrequest("PUT", "/datastore/label")
        connection.putheader("Content-Length", str(10**15))
        connection.endheaders()
        assert connection.getresponse().status == 413


def test_bodies_without_files_are_small_whatever_files_may_be(tokens, port) -> None:
    with served(tokens, port, body_megabytes=8) as url:
        detail(requests.post(f"{url}/jobs", data=b"x" * (MEGABYTE + 1)), 413, "too-large")
        assert requests.put(f"{url}/session/", data=b"x" * (MEGABYTE + 1)).json()["bytes"] == MEGABYTE + 1


def test_too_many_requests_are_told_when_to_come_back(tokens, port) -> None:
    with served(tokens, port, requests_per_minute=2) as url:
        replies = [requests.get(f"{url}/info/") for _ in range(3)]
        assert [reply.status_code for reply in replies[:2]] == [200, 200]
        detail(replies[2], 429, "too-many-requests")
        assert 1 <= int(replies[2].headers["Retry-After"]) <= 30
        assert requests.get(f"{url}/healthz").status_code == 200


def test_guesses_of_tokens_are_counted_too(tokens, port) -> None:
    tokens.add("anna", Role.READER)
    with served(tokens, port, requests_per_minute=2) as url:
        codes = [requests.get(f"{url}/info/", headers=bearer("x")).status_code for _ in range(3)]
    assert codes == [401, 401, 429]


def test_an_address_of_ones_own_choice_is_no_way_around_the_limit(tokens, port) -> None:
    with served(tokens, port, requests_per_minute=2) as url:
        replies = [requests.get(f"{url}/info/", headers={"X-Forwarded-For": f"10.0.0.{n}"}) for n in range(3)]
        assert [reply.status_code for reply in replies] == [401, 401, 429]
        codes = [requests.get(f"{url}/info/").status_code for _ in range(2)]
    assert codes[-1] == 429


def test_one_network_of_ipv6_is_one_client() -> None:
    assert _network_of("2001:db8::1") == _network_of("2001:db8::ffff:1") != _network_of("2001:db8:0:1::1")
    assert _network_of("10.0.0.1") != _network_of("10.0.0.2")
    assert _network_of("x" * 20_000) == "unknown"


def test_what_a_proxy_hands_on_needs_a_token_also_where_there_is_none(tokens, port) -> None:
    with served(tokens, port) as url:
        assert requests.get(f"{url}/info/").json()["caller"] == "local"
        for header in ("X-Forwarded-For", "Forwarded", "Via", "X-Real-IP", "X-Forwarded-Host"):
            detail(requests.get(f"{url}/info/", headers={header: "10.0.0.1"}), 401, "token-missing")


def test_pages_of_other_sites_cannot_ask_without_an_origin_either(tokens, port) -> None:
    with served(tokens, port) as url:
        for site in ("cross-site", "same-site"):
            detail(requests.get(f"{url}/info/", headers={"Sec-Fetch-Site": site}), 403, "forbidden")
        assert requests.get(f"{url}/info/", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200
        detail(requests.get(f"{url}/info/", headers={"Host": f"evil@127.0.0.1:{port}"}), 403, "forbidden")


def test_the_bucket_fills_again() -> None:
    now = [0.0]
    limit = RateLimit(lambda *_: None, 60, clock=lambda: now[0])
    assert [limit._wait("a") for _ in range(61)] == [0] * 60 + [1]
    assert limit._wait("b") == 0
    now[0] = 2.0
    assert [limit._wait("a") for _ in range(3)] == [0, 0, 1]


def test_many_addresses_do_not_fill_the_memory(monkeypatch) -> None:
    monkeypatch.setattr("covid_bert.server.limits._MOST_CLIENTS", 2)
    limit = RateLimit(lambda *_: None, 1, clock=lambda: 0.0)
    for address in "abcb":
        limit._wait(address)
    assert set(limit._buckets) == {"b", "c"}
    assert limit._wait("c") > 0


def test_an_unknown_error_says_nothing_of_a_study(tokens, port, caplog) -> None:
    with served(tokens, port) as url:
        found = detail(requests.get(f"{url}/batch/infer"), 500, "internal")
    assert "RuntimeError" in caplog.text
    assert "patient-name" not in caplog.text + str(found)


def test_metrics_count_by_template_and_name_no_study(tokens, port) -> None:
    with served(tokens, port) as url:
        for path in ("/session/patient-name", "/patient-name", "/healthz"):
            requests.get(f"{url}{path}")
        requests.request("PATIENT", f"{url}/info/")
        text = requests.get(f"{url}/metrics").text
    assert 'covid_bert_requests_total{method="GET",route="/session/{session_id}",status="200"} 1.0' in text
    assert 'route="unknown",status="404"} 2.0' in text
    assert "covid_bert_request_seconds_bucket" in text
    assert "patient-name" not in text
    assert "PATIENT" not in text


def test_tls_with_a_certificate_of_ones_own(tokens, port, tmp_path) -> None:
    certificate, key = self_signed(tmp_path)
    with served(tokens, port, tls_certificate=certificate, tls_key=key) as url:
        reply = requests.get(f"{url}/info/", verify=str(certificate))
        assert reply.status_code == 200
        assert "max-age" in reply.headers["Strict-Transport-Security"]
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(f"{url}/info/")
        with pytest.raises(requests.ConnectionError):
            requests.get(f"http://127.0.0.1:{port}/info/")


def test_a_root_path_is_no_way_around_the_table(tokens, port) -> None:
    tokens.add("anna", Role.READER)
    with served(tokens, port, root_path="/ct") as url:
        # The proxy has taken the path off.
        assert requests.get(f"{url}/healthz").status_code == 200
        for path in ("/info/", "/ct/info/", "/ct/healthz/../info/"):
            detail(requests.get(f"{url}{path}"), 401, "token-missing")
