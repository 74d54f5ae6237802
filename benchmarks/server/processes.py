"""Servers as child processes: ours and stock MONAI Label, started on loopback, looked at, stopped or killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import requests

from server import stock_app

START_SECONDS = 600.0
# Neither queue nor rate shall be what a benchmark measures.
ROOMY = ("--queue-length", "10000", "--requests-per-minute", "1000000", "--sessions", "10000")
_FOREIGN = ("COVID_BERT_", "MONAI_LABEL_")


@dataclass
class Server:
    """A server that has been started.

    Parameters
    ----------
    process
        The server itself.
    url
        Where it listens.
    studies, home, temporary
        Its folder of studies, its data folder, and the folder that it takes for the system's temporary one.
    start_seconds
        From its start to its first answer.
    """

    process: subprocess.Popen[bytes]
    url: str
    studies: Path
    home: Path
    temporary: Path
    start_seconds: float

    def descendants(self) -> list[psutil.Process]:
        """Return the processes that it has started, and theirs."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def worker(self) -> psutil.Process | None:
        """Return the process that computes, if there is one."""
        for child in self.descendants():
            try:
                if any("spawn_main" in argument for argument in child.cmdline()):
                    return child
            except psutil.Error:
                continue
        return None

    def processor_seconds(self) -> float:
        """Return the processor time that it and the processes that it has started have taken so far."""
        total = 0.0
        for process in (psutil.Process(self.process.pid), *self.descendants()):
            try:
                times = process.cpu_times()
                total += times.user + times.system
            except psutil.NoSuchProcess:
                continue
        return total

    def kill(self, *, with_children: bool) -> None:
        """End it with SIGKILL, alone or with all its processes at one moment, as a power failure would."""
        children: list[psutil.Process] = []
        if with_children:
            self.process.send_signal(signal.SIGSTOP)
            children = self.descendants()
        for child in children:
            try:
                child.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it in order; a server that does not end within a minute is killed."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill(with_children=True)


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_ours(
    folder: Path, studies: Path, *, options: Sequence[str] = ROOMY, environment: Mapping[str, str] | None = None
) -> Server:
    """Start ``covid-bert serve``.

    Parameters
    ----------
    folder
        For its data, temporary files and log, which later servers of the same folder find again.
    studies
        Folder with the studies.
    options, environment
        Further options and variables.

    Raises
    ------
    RuntimeError
        If it stops or does not answer in time.
    """
    port = free_port()
    command = [
        *(sys.executable, "-m", "covid_bert.cli", "serve", "--studies", str(studies), "--port", str(port)),
        *options,
    ]
    return _start(command, folder, studies, f"http://127.0.0.1:{port}", "/readyz", environment or {})


def start_stock(folder: Path, studies: Path) -> Server:
    """Start ``monailabel start_server`` with our models and MONAI Label's own datastore; else as `start_ours`."""
    port = free_port()
    app = folder / "app"
    app.mkdir(parents=True, exist_ok=True)
    # MONAI Label writes into the app's folder.
    (app / "main.py").write_bytes(Path(stock_app.__file__).read_bytes())
    command = [
        *(sys.executable, "-m", "monailabel.main", "start_server", "--app", str(app), "--studies", str(studies)),
        *("--host", "127.0.0.1", "--port", str(port)),
    ]
    environment = {"MONAI_LABEL_TRACKING_ENABLED": "false", "MONAI_LABEL_AUTO_UPDATE_SCORING": "false"}
    return _start(command, folder, studies, f"http://127.0.0.1:{port}", "/info/", environment)


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Stop a server when the block ends."""
    try:
        yield server
    finally:
        server.stop()


def _start(
    command: list[str], folder: Path, studies: Path, url: str, ready: str, environment: Mapping[str, str]
) -> Server:
    home, temporary, log = folder / "home", folder / "temporary", folder / "server.log"
    for made in (home, temporary):
        made.mkdir(parents=True, exist_ok=True)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    variables = {**inherited, "COVID_BERT_HOME": str(home), "TMPDIR": str(temporary), **environment}
    start = time.monotonic()
    with log.open("ab") as output:
        process = subprocess.Popen(command, cwd=folder, env=variables, stdout=output, stderr=subprocess.STDOUT)
    while True:
        if process.poll() is not None:
            raise RuntimeError(f"The server stopped while it started:\n{_end_of(log)}")
        if time.monotonic() - start > START_SECONDS:
            process.kill()
            raise RuntimeError(f"The server did not answer within {START_SECONDS:.0f} s:\n{_end_of(log)}")
        try:
            if requests.get(url + ready, timeout=60).ok:
                return Server(process, url, studies, home, temporary, time.monotonic() - start)
        except requests.RequestException:
            pass
        time.sleep(0.1)


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]
