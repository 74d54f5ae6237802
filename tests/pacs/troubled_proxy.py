"""Between a client and an archive: lets answers wait, breaks them off, or changes them, as a test says."""

from __future__ import annotations

import contextlib
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_OWN_HEADERS = {"host", "connection"}


@dataclass
class Answer:
    """What the archive answered, as it is about to be sent on."""

    path: str
    status: int
    kind: str
    body: bytes
    # Bytes that are sent before the connection breaks off; None for all.
    cut: int | None = None


@dataclass
class Proxy:
    """A running proxy.

    `change` may change each answer, in the thread that sends it: waiting in it makes the archive slow. Another
    `upstream` is an archive that was started again.
    """

    address: str
    upstream: str
    change: Callable[[Answer], None] = lambda _: None
    asked: list[str] = field(default_factory=list)


@contextlib.contextmanager
def running_proxy(upstream: str) -> Iterator[Proxy]:
    """Run a proxy before an archive while the block runs."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            proxy.asked.append(self.path)
            headers = {
                name: value for name, value in self.headers.items() if name.lower() not in {"host", "connection"}
            }
            request = urllib.request.Request(f"{proxy.upstream}{self.path}", headers=headers)
            try:
                with opener.open(request, timeout=60) as reply:
                    answer = Answer(self.path, reply.status, reply.headers.get("Content-Type", ""), reply.read())
            except urllib.error.HTTPError as error:
                answer = Answer(self.path, error.code, "", error.read())
            except OSError:
                answer = Answer(self.path, 502, "", b"")
            proxy.change(answer)
            with contextlib.suppress(OSError):
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.kind)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body[: answer.cut])
                self.close_connection = answer.cut is not None

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy = Proxy(f"http://127.0.0.1:{server.server_address[1]}", upstream)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
