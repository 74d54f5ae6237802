"""A store of its own for each test, and small HTTP servers that misbehave on demand."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from covid_bert.networks.published_keys import to_published
from covid_bert.weights import store as weights_store
from covid_bert.weights.untrained import untrained

_PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program's data folder, empty, and nothing shipped; proxies of the machine do not interfere."""
    home = tmp_path / "home"
    monkeypatch.setenv("COVID_BERT_HOME", str(home))
    monkeypatch.setattr(weights_store, "shipped_root", lambda: tmp_path / "nothing-shipped")
    for name in _PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return home


@pytest.fixture
def left_behind(store: Path) -> Callable[[], list[str]]:
    """All files in the data folder but locks."""
    return lambda: sorted(str(item.relative_to(store)) for item in store.rglob("*") if item.suffix != ".lock")


@dataclass
class FileServer:
    """Serves one file with Range and ETag. `script` names the behaviour of the next requests, then all goes well."""

    content: bytes = bytes(range(256)) * 400
    etag: str | None = '"first"'
    script: list[str] = field(default_factory=list)
    default: str = "serve"
    requests: list[dict[str, str]] = field(default_factory=list)
    bytes_sent: list[int] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/model.pth"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests.append(
            {"line": handler.requestline, **{key.lower(): value for key, value in handler.headers.items()}}
        )
        behaviour, _, argument = (self.script.pop(0) if self.script else self.default).partition(":")
        getattr(self, f"_{behaviour}")(handler, argument)

    def _serve(self, handler: BaseHTTPRequestHandler, _: str, cut: int | None = None, ranges: bool = True) -> None:
        start, status = 0, 200
        wanted = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        if ranges and wanted and handler.headers.get("If-Range") in (None, self.etag):
            start, status = int(wanted.group(1)), 206
            if start >= len(self.content):
                handler.send_response(416)
                handler.send_header("Content-Range", f"bytes */{len(self.content)}")
                handler.send_header("Content-Length", "0")
                handler.end_headers()
                self.bytes_sent.append(0)
                return
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(self.content) - start))
        handler.send_header("Content-Type", "application/octet-stream")
        if self.etag:
            handler.send_header("ETag", self.etag)
        if status == 206:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        handler.end_headers()
        body = self.content[start:cut]
        handler.wfile.write(body)
        self.bytes_sent.append(len(body))

    def _cut(self, handler: BaseHTTPRequestHandler, at: str) -> None:
        self._serve(handler, "", cut=int(at))

    def _norange(self, handler: BaseHTTPRequestHandler, _: str) -> None:
        self._serve(handler, "", ranges=False)

    def _status(self, handler: BaseHTTPRequestHandler, code: str) -> None:
        handler.send_error(int(code))

    def _html(self, handler: BaseHTTPRequestHandler, _: str) -> None:
        body = b"<html>please log in</html>"
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html; charset=utf-8")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _redirect(self, handler: BaseHTTPRequestHandler, target: str) -> None:
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()


@pytest.fixture
def server() -> Iterator[FileServer]:
    """A `FileServer` on loopback."""
    files = FileServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            files.answer(self)

        do_CONNECT = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        files.port = http.server_port
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield files
        http.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def study_state() -> dict[str, torch.Tensor]:
    """A state dict of the study network."""
    return untrained("study-bert", 5)[0].state_dict()


@pytest.fixture
def authors_checkpoint(study_state, tmp_path: Path) -> Path:
    """The study network as the authors' training loop saves it."""
    published = to_published("study-bert", study_state)
    path = tmp_path / "model_best.pth.tar"
    content = {
        "epoch": 86,
        "arch": "rgb_feature_bert10",
        "state_dict": {f"module.{key}": value for key, value in published.items()},
        "best_prec1": np.float64(90.5),
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-5}]},
    }
    torch.save(content, path)
    return path
