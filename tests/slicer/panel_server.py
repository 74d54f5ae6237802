"""A server in memory that classifies: each upload gets the sample result and a lung mask on its own grid."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from mrml_samples import fitted, result_document
from worker_process import job_server, scripted_server

TOKEN = scripted_server.TOKEN
MODELS = {
    "covid_s1": {"type": "classification", "description": "Classifies a chest CT study: Two stages. Research use."},
    "covid_s2": {"type": "classification", "description": "Classifies a chest CT study: Clips. Research use."},
    "lungs": {"type": "segmentation", "description": "Segments the lungs."},
}


class Handler(job_server.Handler):
    server: PanelServer

    def get_version(self) -> None:
        self.send(200, {**scripted_server.VERSION, "version": self.server.version})

    def get_auth(self, *_parts: str) -> None:
        self.send(200, {"username": "anna", "roles": ["reader", "annotator"]})

    def get_info(self) -> None:
        self.send(200, {"name": "covid-bert", "models": MODELS, "strategies": {}, "trainers": {}})

    def refuse(self, status: int, code: str) -> None:
        super().refuse(status, "token-refused" if status == 401 else code)

    def post_jobs(self) -> None:
        self.server.orders.append(self.body)
        if self.server.refusal is not None:
            self.refuse(*self.server.refusal)
            return
        super().post_jobs()
        upload = self.server.sessions.get(json.loads(self.body).get("session_id"))
        if upload is not None:
            self.server.uploads.append((list(self.server.jobs)[-1], upload[1]))

    def get_jobs(self, job_id: str = "", part: str = "") -> None:
        if self.server.refusal is not None:
            return self.refuse(*self.server.refusal)
        if self.server.answer is not None and not part:
            return self.send(200, self.server.answer)
        job = self.server.jobs.get(job_id)
        if not part or job is None or job["state"] != "done":
            return super().get_jobs(job_id, part)
        if part == "result":
            result = self.server.result
            if isinstance(result, dict) and "study" in result:
                result = fitted(copy.deepcopy(result), sizes_of(dict(self.server.uploads)[job_id])[2])
            return self.send(200, {"params": {"result": result}, "files": ["lungs"]})
        return self.send(200, lungs_for(dict(self.server.uploads)[job_id]))


class PanelServer(job_server.JobServer):
    """``holds`` keeps jobs from going on; ``refusal`` and ``answer`` stand in for what is said of jobs."""

    def __init__(self) -> None:
        super().__init__()
        self.RequestHandlerClass = Handler
        self.version = "0.1.0"
        self.orders: list[bytes] = []
        self.uploads: list[tuple[str, bytes]] = []
        self.refusal: tuple[int, str] | None = None
        self.answer: bytes | None = None
        self.result: Any = result_document()
        self.is_running = True

    def die(self) -> None:
        """Stop answering, as a server that ended does."""
        if self.is_running:
            self.is_running = False
            self.shutdown()
            self.server_close()


@contextmanager
def panel_server() -> Iterator[PanelServer]:
    """Run one."""
    server = PanelServer()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        server.die()


def header_of(upload: bytes) -> dict[str, str]:
    fields = [line for line in upload.partition(b"\n\n")[0].decode().splitlines() if ": " in line]
    return {name: value for name, _, value in (line.partition(": ") for line in fields)}


def sizes_of(upload: bytes) -> list[int]:
    return [int(size) for size in header_of(upload)["sizes"].split()]


def lungs_for(upload: bytes) -> bytes:
    """Return a mask on the grid of an uploaded NRRD file: the lower half right lung, the upper left."""
    header, sizes = header_of(upload), sizes_of(upload)
    values = np.ones(sizes[::-1], np.uint8)
    values[sizes[2] // 2 :] = 2
    kept = "\n".join(f"{name}: {header[name]}" for name in ("space", "sizes", "space directions", "space origin"))
    return f"NRRD0004\ntype: uint8\ndimension: 3\n{kept}\nencoding: raw\n\n".encode() + values.tobytes()
