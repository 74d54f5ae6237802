"""A small application behind the server's layers, on a real port."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from covid_bert.server.configuration import load
from covid_bert.server.launch import uvicorn_options
from covid_bert.server.layers import protected
from covid_bert.server.metrics import Metrics
from covid_bert.server.tokens import LiveTokens, TokenFile


async def application(scope, receive, send) -> None:
    """Answer with the caller and the number of bytes; fail under one route, with a study's name in the message."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    request = Request(scope, receive)
    if scope["path"].endswith("/batch/infer"):
        raise RuntimeError("patient-name cannot be read")
    if scope["path"].endswith("/metrics"):
        await Response(scope["metrics"].text())(scope, receive, send)
        return
    if scope["path"].endswith("/datastore/dataset"):
        await StreamingResponse(_large())(scope, receive, send)
        return
    size = sum([len(part) async for part in request.stream()])
    caller = getattr(request.state, "caller", None)
    await JSONResponse({"caller": caller.name if caller else None, "bytes": size})(scope, receive, send)


LARGE = 64 * 2**20


async def _large() -> AsyncIterator[bytes]:
    for _ in range(LARGE // 2**20):
        yield bytes(2**20)


@contextlib.contextmanager
def served(tokens: TokenFile, port: int, **settings: object) -> Iterator[str]:
    """Serve it with a configuration; yield the URL."""
    configuration = load({"studies": "unused", "port": port, **settings}, environment={})
    metrics = Metrics()

    async def with_metrics(scope, receive, send) -> None:
        await application({**scope, "metrics": metrics}, receive, send)

    app = protected(with_metrics, configuration, LiveTokens(tokens), metrics)
    with in_thread(uvicorn.Config(app, **uvicorn_options(configuration))):
        yield f"{'https' if configuration.tls else 'http'}://127.0.0.1:{port}"


@contextlib.contextmanager
def in_thread(config: uvicorn.Config) -> Iterator[uvicorn.Server]:
    """Run a server on a thread while the block runs."""
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 120
    try:
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield server
    finally:
        server.should_exit = True
        thread.join(60)


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for this machine and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = [
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        *("-keyout", str(key), "-out", str(certificate)),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key
