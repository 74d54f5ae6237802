"""``POST /infer/{model}`` and ``/batch/infer`` on a real port, over a queue with a model that does what it is told."""

from __future__ import annotations

import errno
import functools
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import uvicorn
from fake_jobs import running
from served import in_thread

from covid_bert.errors import GoneError
from covid_bert.server.audit import AuditKey, AuditLog
from covid_bert.server.jobs.runner import JobRunner
from needed import require_module

require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")


@dataclass
class FakeStore:
    """Keeps what is saved as labels."""

    saved: list[tuple[str, bytes, str, dict[str, Any]]] = field(default_factory=list)

    def list_images(self) -> list[str]:
        return ["a", "b", "nobody"]

    def get_unlabeled_images(self, _tag: str) -> list[str]:
        return ["b"]

    def save_label(self, image: str, file: str, tag: str, information: dict[str, Any]) -> str:
        self.saved.append((image, Path(file).read_bytes(), tag, information))
        return image


@dataclass
class Served:
    url: str
    port: int
    runner: JobRunner
    store: FakeStore
    server: uvicorn.Server
    audit: AuditLog
    held: list[str]

    def audited(self, image: str) -> list[tuple[str, str]]:
        """Action and outcome of the lines about a study."""
        found = [json.loads(line) for file in self.audit.files() for line in file.read_text().splitlines()]
        name = AuditKey(self.audit.folder).name(image) if found else ""
        return [(line["action"], line["outcome"]) for line in found if line["study"] == name]

    def infer(self, query: str, role: str = "annotator", **options: Any) -> requests.Response:
        params = {"params": (None, json.dumps(options.pop("params", {})))}
        files = {**params, **options.pop("files", {})}
        headers = {"x-test-role": role, **options.pop("headers", {})}
        return requests.post(f"{self.url}/infer/fake?{query}", files=files, headers=headers, timeout=300)


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    from fastapi import Depends, FastAPI
    from starlette.datastructures import Headers

    from covid_bert.server import batch, failures, health, inference
    from covid_bert.server.access import Role
    from covid_bert.server.authentication import Caller
    from covid_bert.server.metrics import Metrics
    from covid_bert.server.strict import refuse_unknown

    store, audit, held = FakeStore(), AuditLog(folder / "audit"), []

    class Opened:
        def datastore(self) -> FakeStore:
            return store

    held: list[str] = []

    def hold_session(_request: Any, session: str) -> Any:
        if session == "of-another":
            raise GoneError("The uploaded study is no longer kept.", "Upload it again.")
        held.append(session)
        return lambda: held.remove(session)

    async def lost(_message: Any) -> None:
        raise OSError(errno.EPIPE, "the client left")

    app = FastAPI(dependencies=[Depends(refuse_unknown)])

    async def with_caller(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            role = Headers(scope=scope).get("x-test-role", "admin")
            scope.setdefault("state", {})["caller"] = Caller("anna", Role(role))
            send = lost if "x-test-lost" in Headers(scope=scope) else send
        await app(scope, receive, send)

    with running(folder) as runner:
        failures.install(app)
        save = functools.partial(inference.save_label, store, audit)
        inference.install(app, runner, Opened(), hold_session, save)
        batches = batch.Batches(runner, save)
        batch.install(app, batches, Opened())
        health.install(app, Metrics(), Opened, lambda: runner.alive, lambda: False)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        config = uvicorn.Config(with_caller, port=port, log_level="warning", timeout_graceful_shutdown=1)
        with in_thread(config) as server:
            yield Served(f"http://127.0.0.1:{port}", port, runner, store, server, audit, held)
