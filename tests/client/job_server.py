"""The contract of sessions and jobs in memory: the smallest server that a client of covid-bert can work with."""

from __future__ import annotations

import email.parser
import email.policy
import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from scripted_server import TOKEN, VERSION

IMAGE = b"the mask of the lungs" * 5000
STAGES = [("read", 0.1), ("lungs", 0.5), ("write", 0.9)]


class Handler(BaseHTTPRequestHandler):
    server: JobServer
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.close_connection = True
        self.body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        parts = self.path.strip("/").split("/")
        if parts[0] not in ("version", "readyz") and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.refuse(401, "unauthorized")
        with self.server.lock:
            route = getattr(self, f"{self.command.lower()}_{parts[0]}", None)
            return self.refuse(404, "not-found") if route is None else route(*parts[1:])

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - the names that http.server looks for

    def get_version(self) -> None:
        self.send(200, VERSION)

    def get_readyz(self) -> None:
        self.send(200, {"status": "ready"})

    def get_info(self) -> None:
        self.send(200, {"name": "covid-bert", "models": {"lungs": {"type": "segmentation"}}})

    def put_session(self) -> None:
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        (part,) = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + self.body).iter_parts()
        assert part.get_param("name", header="content-disposition") == "files"
        session_id = str(uuid.uuid4())
        self.server.sessions[session_id] = (part.get_filename(), part.get_payload(decode=True))
        self.send(200, {"session_id": session_id, "session_info": {}})

    def delete_session(self, session_id: str) -> None:
        if self.server.sessions.pop(session_id, None) is None:
            return self.refuse(404, "not-found")
        return self.send(200, {})

    def post_jobs(self) -> None:
        wanted = json.loads(self.body)
        known = wanted.get("image") == "study-1" or wanted.get("session_id") in self.server.sessions
        if not known or set(wanted) - {"model", "image", "session_id", "params"}:
            return self.refuse(404, "not-found")
        job = {
            **{"id": uuid.uuid4().hex, "state": "queued", "model": wanted["model"], "stage": "", "fraction": 0.0},
            **{"place": 0, "seconds_left": 3.0, "error": None, "created": "2025-01-01T00:00:00Z"},
            **{"started": None, "ended": None},
        }
        self.server.jobs[job["id"]] = job
        return self.send(202, job)

    def get_jobs(self, job_id: str = "", part: str = "") -> None:
        if not job_id:
            return self.send(200, {"jobs": list(self.server.jobs.values())})
        job = self.server.jobs.get(job_id)
        if job is None:
            return self.refuse(404, "not-found")
        if not part:
            self.server.advance(job)
            return self.send(200, job)
        if job["state"] != "done":
            return self.refuse(410, "gone") if job["state"] == "expired" else self.refuse(409, "not-ready")
        if part == "result":
            return self.send(200, {"params": {"lung_volume_ml": {"total": 5000.0}}, "files": ["lungs"]})
        return self.send(200, IMAGE)

    def delete_jobs(self, job_id: str) -> None:
        job = self.server.jobs.get(job_id)
        if job is None:
            return self.refuse(404, "not-found")
        if job["state"] in ("queued", "running"):
            job["state"] = "cancelled"
        return self.send(200, job)

    def refuse(self, status: int, code: str) -> None:
        detail = {"code": code, "message": f"It is {code}.", "hint": "Do this.", "request_id": "r1"}
        self.send(status, {"detail": detail})

    def send(self, status: int, content: Any) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream" if body is content else "application/json")
        self.send_header("Content-Disposition", 'attachment; filename="../../evil.nii.gz"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


class JobServer(ThreadingHTTPServer):
    """Each question about a job brings it one stage further; `fault` and `holds` decide how it ends."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.sessions: dict[str, tuple[str | None, bytes]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.fault: dict[str, str] | None = None
        self.holds = False

    def advance(self, job: dict[str, Any]) -> None:
        if job["state"] not in ("queued", "running") or self.holds:
            return
        left = [(stage, fraction) for stage, fraction in STAGES if fraction > job["fraction"]]
        if left:
            job.update(state="running", stage=left[0][0], fraction=left[0][1], started="2025-01-01T00:00:01Z")
        elif self.fault is not None:
            job.update(state="failed", error=self.fault, ended="2025-01-01T00:00:02Z")
        else:
            job.update(state="done", fraction=1.0, place=None, seconds_left=None, ended="2025-01-01T00:00:02Z")


@contextmanager
def running() -> Iterator[JobServer]:
    server = JobServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def wait_for(condition: Any, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
