"""Starting the server: MONAI Label's settings, then uvicorn; and as a child process for the demonstration."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from covid_bert.errors import MissingProgramError, ParameterError, ServerError

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
    try:
        import monailabel  # noqa: F401
    except ImportError as error:
        raise MissingProgramError(
            "MONAI Label is not installed.", "Install it with `pip install 'covid-bert[server]'` (Python 3.10 or 3.11)."
        ) from error
    try:
        studies.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParameterError(
            f"The folder {studies.name} cannot be used: {error.strerror}.", "Choose another."
        ) from error
    origin = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    os.environ.update(
        MONAI_LABEL_APP_DIR=str(APP_DIRECTORY),
        MONAI_LABEL_STUDIES=str(studies.resolve()),
        MONAI_LABEL_SERVER_PORT=str(port),
        # Only pages of this server may call it from a browser; MONAI Label's default is every page.
        MONAI_LABEL_CORS_ORIGINS=json.dumps([origin]),
        # No experiment tracking beside the studies, and no background scoring process after each label.
        MONAI_LABEL_TRACKING_ENABLED="false",
        MONAI_LABEL_AUTO_UPDATE_SCORING="false",
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

    uvicorn.run("covid_bert.server.application:app", host=host, port=port, log_level="info")


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
            raise ServerError("The server stopped while it started.", f"Read {log.name}.")
        try:
            with opener.open(f"{url}/healthz", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise ServerError(f"The server did not answer within {timeout:.0f} seconds.", f"Read {log.name}.")
