"""Which addresses a client takes, and what it says where nothing or something else answers."""

from __future__ import annotations

import socket

import pytest
from scripted_server import TOKEN, page, raw, refusal, reply

from covid_bert import __version__
from covid_bert.client import (
    AddressError,
    Backoff,
    Client,
    Readiness,
    TimedOutError,
    TokenRefusedError,
    UnreachableError,
    VersionMismatchError,
    WrongServerError,
)

ONCE = Backoff(attempts=1)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("http://LOCALHOST", "http://localhost:80"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("https://server.example/covid/one/", "https://server.example:443/covid/one"),
    ],
)
def test_addresses_that_are_taken(url, shown) -> None:
    assert repr(Client(url, TOKEN)) == f"Client('{shown}')"


@pytest.mark.parametrize(
    "url",
    [
        *("", "server.example", "ftp://server.example", "file:///etc/passwd", "https://", "https://server.example:0"),
        *("https://server.example:99999", "https://reader:hunter2@server.example", "https://server.example/?a=hunter2"),
        *("https://server.example/../admin", "https://ser ver.example", "https://server.example/a b", "https://[::1"),
        "https://server.example/\r\nX-Header: hunter2",
    ],
)
def test_addresses_that_are_not_taken(url) -> None:
    with pytest.raises(AddressError) as caught:
        Client(url)
    assert caught.value.hint
    assert "hunter2" not in str(caught.value), "a password in the address is not repeated"


def test_clear_text_goes_over_no_network() -> None:
    with pytest.raises(AddressError, match="without TLS"):
        Client("http://server.example:8000", TOKEN)
    assert Client("http://server.example:8000", TOKEN, allow_insecure_network=True)


@pytest.mark.parametrize("token", ["", "short", "two words are none", "line\r\nX-Header: 1", "geheim-ü-0123456789"])
def test_what_cannot_be_a_token_is_refused_and_not_repeated(token) -> None:
    with pytest.raises(TokenRefusedError) as caught:
        Client("http://127.0.0.1:8000", token)
    assert not token or token not in repr(caught.value) + str(caught.value)


def test_nothing_at_the_port() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(UnreachableError, match="Nothing can be reached"):
        Client(f"http://127.0.0.1:{port}", backoff=ONCE).version()


def test_no_host_of_that_name() -> None:
    with pytest.raises(AddressError, match="no host of the name"):
        Client("https://no-such-host.invalid", backoff=ONCE).version()


def test_port_that_takes_no_connection() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # A full queue of connections: the next one waits without an answer.
        others = [socket.socket() for _ in range(4)]
        for other in others:
            other.setblocking(False)
            other.connect_ex(listener.getsockname())
        client = Client(f"http://127.0.0.1:{listener.getsockname()[1]}", connect_timeout=0.3, backoff=ONCE)
        with pytest.raises(TimedOutError, match="took no connection"):
            client.version()
        for other in others:
            other.close()


@pytest.mark.parametrize(
    "answer",
    [
        page(200),
        page(404),
        reply(200, {"name": "something-else", "version": "0.1.0"}),
        reply(200, {"name": "covid-bert"}),
        reply(200, {"name": "covid-bert", "version": "0.1\n<b>"}),
        reply(200, [1, 2]),
        reply(200, b"not json"),
        reply(404, {"detail": "Not Found"}),
        refusal(401, "unauthorized"),
        reply(302, b"", {"Location": "https://elsewhere.example/login"}),
        raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70000 + b"\r\n\r\n"),
    ],
)
def test_another_server_gets_neither_token_nor_study(server, client, answer) -> None:
    server.script["/version"] = [answer]
    with pytest.raises(WrongServerError):
        client.info()
    assert set(server.paths()) == {"/version"}
    assert all("Authorization" not in request.headers for request in server.requests)


@pytest.mark.parametrize("version", ["0.2.0", "0.10.0", "1.0.0", "0"])
def test_server_of_another_series(server, client, version) -> None:
    server.script["/version"] = [reply(200, {"name": "covid-bert", "version": version})]
    with pytest.raises(VersionMismatchError, match=version):
        client.jobs()
    assert server.paths() == ["/version"]


def test_this_program_is_of_the_series_that_the_client_speaks_with(server, client) -> None:
    server.script["/version"] = [reply(200, {"name": "covid-bert", "version": __version__})]
    assert client.version() == __version__


def test_server_is_asked_once_what_it_is(server, client) -> None:
    server.script["/info/"] = [reply(200, {"models": {}})]
    client.info()
    client.info()
    assert server.paths() == ["/version", "/info/", "/info/"]


def test_folder_stands_before_every_route(server) -> None:
    server.script["/covid/version"] = server.script.pop("/version")
    assert Client(f"{server.url}/covid/").version() == "0.1.0"


def test_redirects_are_not_followed(server, client) -> None:
    server.script["/info/"] = [reply(307, b"", {"Location": "https://elsewhere.example/info/"})]
    with pytest.raises(WrongServerError, match=r"elsewhere\.example"):
        client.info()
    assert server.paths() == ["/version", "/info/"]


def test_proxies_of_the_environment_are_not_used(server, client, monkeypatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert client.version() == "0.1.0"


def test_ready_says_no_and_asks_once(server, client) -> None:
    server.script["/readyz"] = [refusal(503, "not-ready"), reply(200, {"status": "ready"})]
    assert client.readiness() == Readiness(False, "It is not-ready.", "Do this.")
    assert client.readiness().ready is True
    assert server.paths() == ["/readyz", "/readyz"]
