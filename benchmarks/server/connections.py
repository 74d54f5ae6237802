"""Clients that send byte by byte, stop in the middle, or do not read, while others ask whether the server lives."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil  # type: ignore[import-untyped]
import requests

from server.kills import leftovers
from server.measuring import nearest_rank
from server.processes import Server, running, start_ours
from server.studies import random_image, random_mask
from server.writes import BASE, Findings, get

# The server's own limits are 20 s for a head, 30 s for a body and 60 s for reading.
_LONGEST_SECONDS = 120.0
_BYTE_SECONDS = 0.5
_LARGE = (64, 512, 512)
_TIDY_SECONDS = 10.0
_UPLOADS = {
    "image": ("PUT", "/datastore/image?image=half", "file", "half.nii"),
    "label": ("PUT", f"/datastore/label?image={BASE}&tag=final", "label", "half.nii.gz"),
    "session": ("PUT", "/session/", "files", "half.nii"),
    "inference": ("POST", "/infer/lungs", "file", "half.nii"),
}


def half_sent(folder: Path, rounds: int, generator: np.random.Generator) -> tuple[int, Findings, list[str]]:
    """Send a part of each kind of upload and leave, in order or with a reset; then look what is there of it."""
    found = Findings()
    odd: list[str] = []
    with running(_start(folder, generator)) as server:
        before = _objects(server)
        for number in range(rounds):
            for method, path, field, name in _UPLOADS.values():
                content = random_mask(generator) if field == "label" else random_image(generator)
                request = _upload(server, method, path, field, name, content)
                with _connected(server) as connection:
                    connection.sendall(request[: int(generator.integers(1, len(request)))])
                    if number % 2:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        time.sleep(_TIDY_SECONDS)
        if _objects(server) != before:
            found.corrupt.append("a half-sent file is offered")
        found += Findings(left=leftovers(server))
        if "Traceback" in (folder / "server.log").read_text(errors="replace"):
            odd.append("an unexpected error in the server's log")
    return 0, found, odd


def slow(folder: Path, rounds: int, generator: np.random.Generator) -> tuple[int, Findings, list[str]]:
    """Be `rounds` slow clients of each sort at one time, and one that is not slow."""
    found = Findings()
    odd: list[str] = []
    with running(_start(folder, generator)) as server:
        started: list[threading.Thread] = []
        for sort in (_slow_head, _slow_body, _unread) * rounds:
            started.append(threading.Thread(target=_note_end, args=(sort, server, odd)))
            started[-1].start()
        seconds = []
        while any(thread.is_alive() for thread in started):
            start = time.monotonic()
            get(f"{server.url}/healthz")
            seconds.append(time.monotonic() - start)
            time.sleep(0.05)
        time.sleep(_TIDY_SECONDS)
        found += Findings(left=leftovers(server))
        middle, high = (1000 * nearest_rank(seconds, percent) for percent in (50, 99))
        found.notes = [f"/healthz meanwhile: p50 {middle:.1f} ms, p99 {high:.1f} ms, {len(seconds)} requests"]
    return 0, found, odd


def _note_end(sort: Callable[[Server], str], server: Server, odd: list[str]) -> None:
    start = time.monotonic()
    try:
        wrong = sort(server)
    except OSError:
        # The server has closed the connection, as it shall.
        wrong = ""
    if not wrong and time.monotonic() - start > _LONGEST_SECONDS:
        wrong = f"the connection was open after {_LONGEST_SECONDS:.0f} s"
    if wrong:
        odd.append(f"{sort.__name__.strip('_')}: {wrong}")


def _slow_head(server: Server) -> str:
    """Send a head byte by byte, which never ends."""
    with _connected(server) as connection:
        connection.sendall(b"GET /info/ HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        return _drip(connection, b"x" * 2**10)


def _slow_body(server: Server) -> str:
    """Send a body byte by byte; the answer must be 408."""
    request = _upload(server, *_UPLOADS["image"], bytes(2**20))
    head = request.index(b"\r\n\r\n") + 4
    with _connected(server) as connection:
        connection.sendall(request[:head])
        return _drip(connection, request[head:], expected=b" 408 ")


def _unread(server: Server) -> str:
    """Ask for a large file and read almost nothing of it."""
    with _connected(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /datastore/image?image=large HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        port, end = connection.getsockname()[1], time.monotonic() + _LONGEST_SECONDS
        # The client does not notice: what the kernel still holds for it comes before the end of the connection.
        while time.monotonic() < end:
            time.sleep(1)
            open_ones = psutil.Process(server.process.pid).net_connections("tcp")
            if all(found.raddr == () or found.raddr.port != port for found in open_ones):
                return ""
        return "the server did not close the connection"


def _drip(connection: socket.socket, content: bytes, expected: bytes = b"") -> str:
    """Send a byte now and then until the server closes the connection; return what was wrong with its answer."""
    connection.settimeout(_BYTE_SECONDS)
    answer, sent, end = b"", 0, time.monotonic() + _LONGEST_SECONDS + 5
    while time.monotonic() < end:
        try:
            part = connection.recv(4096)
        except TimeoutError:
            connection.sendall(content[sent : sent + 1])
            sent += 1
            continue
        answer += part
        if not part:
            break
    return "" if expected in answer else f"the answer was {answer[:60]!r}"


def _start(folder: Path, generator: np.random.Generator) -> Server:
    studies = folder / "studies"
    studies.mkdir()
    (studies / f"{BASE}.nii").write_bytes(random_image(generator))
    (studies / "large.nii").write_bytes(random_image(generator, _LARGE))
    return start_ours(folder, studies)


def _connected(server: Server) -> socket.socket:
    parts = urlsplit(server.url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60)


def _upload(server: Server, method: str, path: str, field: str, name: str, content: bytes) -> bytes:
    """Return a whole request with a file."""
    prepared = requests.Request(method, server.url + path, files={field: (name, content)}).prepare()
    headers = "".join(f"{key}: {value}\r\n" for key, value in prepared.headers.items())
    host = urlsplit(server.url).netloc
    assert isinstance(prepared.body, bytes)
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n".encode() + prepared.body


def _objects(server: Server) -> object:
    objects = get(f"{server.url}/datastore/", params={"output": "all"}).json()["objects"]
    return {key: sorted(entry.get("labels", {})) for key, entry in objects.items()}
