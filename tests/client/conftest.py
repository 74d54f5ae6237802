"""A scripted server and a client that does not wait long."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import scripted_server
from scripted_server import TOKEN, Server

from covid_bert.client import Backoff, Client

QUICK = Backoff(first_seconds=0.01, longest_seconds=2.0, total_seconds=5.0)


@pytest.fixture
def server() -> Iterator[Server]:
    with scripted_server.running() as running:
        yield running


@pytest.fixture
def client(server: Server) -> Client:
    return Client(server.url, TOKEN, connect_timeout=2.0, read_timeout=2.0, backoff=QUICK)
