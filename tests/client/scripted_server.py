"""A server that answers as a test tells it, also in ways in which no server should."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

# It could also stand in a code or a host, so that the tests see whether it is hidden there.
TOKEN = "kq3-a-secret-token-0123456789"
JOB_ID = "0123456789abcdef0123456789abcdef"
VERSION = {"name": "covid-bert", "version": "0.1.0"}


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.close_connection = True
        steps = self.server.script.get(self.path, [reply(404, {"detail": {"code": "not-found"}})])
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        length = 0 if getattr(step, "leaves_body", False) else int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(length)
        self.server.requests.append(Request(self.command, self.path, dict(self.headers), body))
        step(self)

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - the names that http.server looks for

    def log_message(self, *arguments: Any) -> None:
        pass


Step = Callable[[Handler], None]


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: dict[str, list[Step]] = {"/version": [reply(200, VERSION)]}
        self.requests: list[Request] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def paths(self) -> list[str]:
        return [request.path for request in self.requests]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that a client leaves midway are part of the tests."""


@contextmanager
def running(certificate: Path | None = None, key: Path | None = None) -> Iterator[Server]:
    server = Server()
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        # The handshake belongs to the thread of the connection, not to the one that accepts.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.url = server.url.replace("http://", "https://")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def reply(status: int, content: Any = None, headers: dict[str, str] | None = None) -> Step:
    """JSON, or bytes as they are."""

    def step(handler: Handler) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        handler.send_response(status)
        given = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
        for name, value in given.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return step


def refusal(status: int, code: str, headers: dict[str, str] | None = None) -> Step:
    detail = {"code": code, "message": f"It is {code}.", "hint": "Do this.", "request_id": "r1"}
    return reply(status, {"detail": detail}, headers)


def page(status: int) -> Step:
    return reply(status, b"<html><body>Please log in</body></html>", {"Content-Type": "text/html; charset=utf-8"})


def raw(content: bytes) -> Step:
    return lambda handler: handler.wfile.write(content)


def slow(seconds: float, then: Step) -> Step:
    def step(handler: Handler) -> None:
        time.sleep(seconds)
        then(handler)

    return step


def cut(content: bytes, announced: int) -> Step:
    """A file that ends before the length that was announced."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {announced}\r\n\r\n"
    return raw(head.encode() + content)


def reset(handler: Handler) -> None:
    """Break the connection without an answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def early(step: Step) -> Step:
    """Answer without reading the body of the request."""

    def answer(handler: Handler) -> None:
        step(handler)

    answer.leaves_body = True  # type: ignore[attr-defined]
    return answer


def job(state: str = "queued", **fields: Any) -> dict[str, Any]:
    return {
        **{"id": JOB_ID, "state": state, "model": "lungs", "stage": "", "fraction": 0.0, "place": 0},
        **{"seconds_left": None, "error": None, "created": "2025-01-01T00:00:00Z", "started": None, "ended": None},
        **fields,
    }
