"""Clients that begin and do not go on: their connections are closed, and nobody else notices."""

from __future__ import annotations

import functools
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from served import LARGE, served

from covid_bert.server import connections, layers
from covid_bert.server.bodies import BodyLimit
from covid_bert.server.tokens import TokenFile


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "tokens.json")


def slowly(seconds: float, piece: bytes, count: int = 3) -> Iterator[bytes]:
    for _ in range(count):
        yield piece
        time.sleep(seconds / count)


def test_a_body_that_does_not_arrive_is_given_up(tokens, port, monkeypatch) -> None:
    monkeypatch.setattr(layers, "BodyLimit", functools.partial(BodyLimit, patience_seconds=2.0))
    with served(tokens, port) as url:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            head = b"PUT /datastore/label HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf"
            connection.sendall(head)
            reply = http.client.HTTPResponse(connection)
            reply.begin()
            assert reply.status == 408
            assert json.loads(reply.read())["detail"]["code"] == "too-slow"
        assert requests.put(f"{url}/datastore/label", data=slowly(3.0, b"x" * 2**16)).json()["bytes"] == 3 * 2**16


def test_a_head_that_does_not_arrive_is_given_up(tokens, port, monkeypatch) -> None:
    with served(tokens, port) as url:
        for start in (b"", b"GET /healthz HTTP/1.1\r\nHost: local"):
            with monkeypatch.context() as patch:
                patch.setattr(connections, "HEAD_SECONDS", 1.0)
                with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
                    connection.sendall(start)
                    assert connection.recv(1) == b"", "closed, not waited for"
        assert requests.get(f"{url}/healthz").status_code == 200


def test_an_answer_that_is_not_read_is_thrown_away(tokens, port, monkeypatch) -> None:
    lost = threading.Event()
    whole = connections.ImpatientProtocol.connection_lost

    def connection_lost(self: connections.ImpatientProtocol, error: Exception | None) -> None:
        lost.set()
        whole(self, error)

    with served(tokens, port) as url:
        with monkeypatch.context() as patch, socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            patch.setattr(connections, "UNREAD_SECONDS", 1.0)
            patch.setattr(connections.ImpatientProtocol, "connection_lost", connection_lost)
            connection.sendall(b"GET /datastore/dataset HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert lost.wait(120), "waited for whoever does not read"
            received = 0
            try:
                while part := connection.recv(2**20):
                    received += len(part)
            except ConnectionResetError:
                pass
            assert received < LARGE
        assert len(requests.get(f"{url}/datastore/dataset").content) == LARGE
