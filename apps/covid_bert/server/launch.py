"""Starting the server: MONAI Label's settings, then uvicorn; and as a child process for the demonstration."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from covid_bert.errors import MissingProgramError, ParameterError, ServerError
from covid_bert.server.temporary import own_temporary_folder

APP_DIRECTORY = Path(__file__).resolve().parent.parent
LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def prepare(studies: Path, *, host: str, port: int) -> None:
    """Set MONAI Label's settings for this process, before it is imported.

    Parameters
    ----------
    studies
        Folder with the studies; made if it is missing.
    host, port
        Where the server will listen.

    Raises
    ------
    MissingProgramError
        If MONAI Label is not installed.
    ParameterError
        If the host is not this machine, or the folder cannot be used.
    """
    if host not in LOOPBACK:
        raise ParameterError(
            f"This server has no login yet and listens on this machine only, not on {host}.",
            "Use --host 127.0.0.1, and an SSH tunnel or a reverse proxy with a login for other machines.",
        )
    require_monailabel()
    try:
        studies.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParameterError(
            f"The folder {studies.name} cannot be used: {error.strerror}.", "Choose another."
        ) from error
    temporary = own_temporary_folder()
    tempfile.tempdir = str(temporary)
    os.environ.update(
        # Uploads, sessions and replies, of this process and its children, lie where only this user may look.
        TMPDIR=str(temporary),
        MONAI_LABEL_SESSION_PATH=str(temporary / "sessions"),
        MONAI_LABEL_APP_DIR=str(APP_DIRECTORY),
        MONAI_LABEL_STUDIES=str(studies.resolve()),
        MONAI_LABEL_SERVER_PORT=str(port),
        # MONAI Label's jobs in child processes read this variable without a default.
        PYTHONPATH=os.environ.get("PYTHONPATH", ""),
        # One inference at a time, the others wait their turn: two would only share processor and memory.
        MONAI_LABEL_INFER_CONCURRENCY="1",
        MONAI_LABEL_INFER_TIMEOUT="7200",
        # No experiment tracking beside the studies, and no background scoring process after each label.
        MONAI_LABEL_TRACKING_ENABLED="false",
        MONAI_LABEL_AUTO_UPDATE_SCORING="false",
    )


def require_monailabel() -> None:
    """Raise `MissingProgramError` if MONAI Label is not installed."""
    if importlib.util.find_spec("monailabel") is None:
        raise MissingProgramError(
            "MONAI Label is not installed.",
            "On Python 3.10 or 3.11: `pip install 'covid-bert[server]'`. It cannot be installed on later ones.",
        )


def serve(studies: Path, *, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Run the server until it is stopped. See `prepare` for the parameters and errors.

    Raises
    ------
    ServerError
        If the port is taken.
    """
    prepare(studies, host=host, port=port)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServerError(
                f"Port {port} cannot be used: {error.strerror}.", "Choose another with --port."
            ) from error
    import uvicorn

    # After its own shutdown uvicorn raises the signal again, whose default action would skip all tidying up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # No access log: its lines hold the ids of studies, which are the names of files.
    uvicorn.run("covid_bert.server.application:app", host=host, port=port, log_level="info", access_log=False)


@contextmanager
def running_server(studies: Path, log: Path, *, timeout: float = 180.0) -> Iterator[str]:
    """Run a server as a child process on a free port while the block runs.

    Parameters
    ----------
    studies
        Folder with the studies.
    log
        File for the server's output.
    timeout
        Seconds that it may take to answer.

    Yields
    ------
    str
        The server's URL.

    Raises
    ------
    ServerError
        If it stops or does not answer in time; the hint names the log.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "covid_bert.cli", "serve", "--studies", str(studies), "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait(process, url, timeout, log)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, timeout: float, log: Path) -> None:
    deadline = time.monotonic() + timeout
    # A proxy of the environment must not be asked for this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerError(f"The server stopped while it started: {_last_words(log)}", f"Read {log.name}.")
        try:
            with opener.open(f"{url}/healthz", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise ServerError(f"The server did not answer within {timeout:.0f} seconds.", f"Read {log.name}.")


def _last_words(log: Path) -> str:
    """The last line of a log that names an error, or the last line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()] or ["no output"]
    return next((line for line in reversed(lines) if "rror" in line), lines[-1])[:300]
