"""Runs the worker as the panel does: by path, one order on its standard input, events from its standard output."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
EXTENSION = REPOSITORY / "slicer_extension" / "CovidBert"
WORKER = EXTENSION / "CovidBertLib" / "worker.py"
LAST = ("done", "failed", "cancelled")
# For a machine that does much else: only what hangs takes as long.
SECONDS = 900.0
for folder in (EXTENSION, REPOSITORY / "tests" / "client"):
    sys.path.append(str(folder))

import job_server  # noqa: E402 - the client's tests have the servers that misbehave
import scripted_server  # noqa: E402

__all__ = ["EXTENSION", "WORKER", "Worker", "job_server", "raw_volume", "run", "scripted_server"]


class Worker:
    """A running worker; what it says is checked when it has ended."""

    def __init__(self, order: dict[str, Any] | bytes, *, longest_file_bytes: int | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        self._secret = order.get("server", {}).get("token") if isinstance(order, dict) else None
        self._news = threading.Condition()
        self._has_ended = False
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # The standard library has to do: nothing of the repository is on its path.
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        )
        if longest_file_bytes is not None:
            resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (longest_file_bytes, longest_file_bytes))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.write(order if isinstance(order, bytes) else json.dumps(order).encode() + b"\n")

    def write(self, line: bytes) -> None:
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def cancel(self) -> None:
        self.write(b'{"cancel": true}\n')

    def wait_for(self, stage: str) -> dict[str, Any]:
        """The first progress of a stage."""
        return self._wait(lambda event: event.get("stage") == stage)

    def wait_last(self) -> dict[str, Any]:
        """The last event, whether or not the process has ended."""
        return self._wait(lambda event: event["event"] in LAST)

    def end(self) -> dict[str, Any]:
        """The last event, once the process has ended."""
        event = self.wait_last()
        assert self.process.wait(SECONDS) == 0
        self.close()
        assert event is self.events[-1], "nothing follows the last event"
        return event

    def close(self) -> str:
        """End the input, wait for the process, and return its standard error."""
        if not self.process.stdin.closed:
            self.process.stdin.close()
        self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        errors = self.process.stderr.read().decode()
        self.process.stdout.close()
        self.process.stderr.close()
        assert "Traceback" not in errors
        if self._secret:
            assert self._secret not in errors + json.dumps(self.events)
        return errors

    def stages(self) -> list[str]:
        """The stages in their order, each once."""
        return list(dict.fromkeys(event["stage"] for event in self.events if event["event"] == "progress"))

    def _read(self) -> None:
        for line in self.process.stdout:
            event = json.loads(line)
            assert event["event"] in ("progress", *LAST)
            with self._news:
                self.events.append(event)
                self._news.notify_all()
        with self._news:
            self._has_ended = True
            self._news.notify_all()

    def _wait(self, is_wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        end = time.monotonic() + SECONDS
        with self._news:
            while True:
                found = next((event for event in self.events if is_wanted(event)), None)
                if found is not None:
                    return found
                assert not self._has_ended, self.events
                assert self._news.wait(end - time.monotonic()), self.events


def run(order: dict[str, Any] | bytes, **options: Any) -> dict[str, Any]:
    """The last event of an order."""
    return Worker(order, **options).end()


def raw_volume(path: Path, voxels: np.ndarray, spacing: tuple[float, float, float] = (0.7, 0.7, 5.0)) -> dict[str, Any]:
    """Write voxels (k, j, i) as `export_volume` does."""
    path.write_bytes(np.ascontiguousarray(voxels, "<i2").tobytes())
    directions = np.diag(spacing).tolist()
    header = {"type": "int16", "sizes": list(voxels.shape[::-1]), "directions": directions, "origin": [-100.5, -90, 3]}
    return {"raw": str(path), "header": header}
