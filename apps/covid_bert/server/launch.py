"""Starting the server: MONAI Label's settings, then uvicorn; and as a child process for the demonstration."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from covid_bert import logs
from covid_bert.errors import MissingProgramError, OutputError, ParameterError, ServerError
from covid_bert.server.audit import AuditLog, default_audit_folder
from covid_bert.server.certificate import check_certificate
from covid_bert.server.configuration import ServerConfiguration, check_network
from covid_bert.server.temporary import own_temporary_folder
from covid_bert.server.tokens import LiveTokens, TokenFile, default_tokens_file

APP_DIRECTORY = Path(__file__).resolve().parent.parent
SERVER_LOCK_NAME = ".covid-bert-server.lock"
# Seconds for requests that are being answered when the server is stopped.
GRACE_SECONDS = 10


def prepare(configuration: ServerConfiguration) -> None:
    """Set MONAI Label's settings for this process, before it is imported.

    Parameters
    ----------
    configuration
        The server's set-up. The folder with the studies is made if it is missing.

    Raises
    ------
    MissingProgramError
        If MONAI Label is not installed.
    ParameterError
        If the folder, or what logs in to the archive, cannot be used.
    OutputError
        If the program's data folder cannot be written.
    """
    studies = configuration.studies
    require_monailabel()
    from covid_bert.pacs.credentials import read_credentials
    from covid_bert.pacs.settings import write_settings

    try:
        studies.mkdir(parents=True, exist_ok=True)
        if configuration.archive is not None:
            write_settings(studies, configuration.archive)
            # A file that cannot be read is said now, not with the first study.
            read_credentials(configuration.archive)
    except FileExistsError as error:
        raise ParameterError(f"{studies.name} is a file, not a folder.", "Give the folder with the studies.") from error
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
        MONAI_LABEL_SERVER_PORT=str(configuration.port),
        MONAI_LABEL_SESSION_EXPIRY=str(configuration.session_minutes * 60),
        # Its own check of tokens cannot succeed; ours stands before all its routes.
        MONAI_LABEL_AUTH_ENABLE="false",
        # MONAI Label's jobs in child processes read this variable without a default.
        PYTHONPATH=os.environ.get("PYTHONPATH", ""),
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


def serve(configuration: ServerConfiguration, *, insecure_network: bool = False) -> None:
    """Run the server until it is stopped. See `prepare` for further errors.

    Parameters
    ----------
    configuration
        The server's set-up.
    insecure_network
        Whether it may be reached from other machines without tokens or TLS.

    Raises
    ------
    ParameterError
        If other machines could reach it without tokens or TLS, or the certificate cannot be used.
    ServerError
        If the port is taken, another server serves these studies, or the file with the tokens cannot be used.
    """
    tokens = LiveTokens(TokenFile(configuration.tokens_file or default_tokens_file()))
    check_network(configuration, tokens=tokens.required, insecure_network=insecure_network)
    check_certificate(configuration)
    logs.configure(configuration.log_format)
    # Studies, labels and results are for this user only.
    os.umask(0o077)
    prepare(configuration)
    _check_port(configuration.host, configuration.port)
    with only_server_of(configuration.studies):
        AuditLog(default_audit_folder()).append("server-started", facts={"configuration": configuration.public()})
        import uvicorn

        from covid_bert.server.application import create

        # After its own shutdown uvicorn raises the signal again, whose default action would skip all tidying up.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        uvicorn.run(create(configuration, tokens), **uvicorn_options(configuration))


@contextmanager
def only_server_of(studies: Path) -> Iterator[None]:
    """Keep all others from serving some studies, whichever data folder they have, while the block runs.

    Parameters
    ----------
    studies
        Folder with the studies; exists.

    Raises
    ------
    ServerError
        If a server serves them.
    OutputError
        If the folder cannot be written.
    """
    lock = FileLock(studies / SERVER_LOCK_NAME, mode=0o600)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ServerError(
            "A server already serves this folder of studies.", "Stop it first, or choose another folder."
        ) from error
    except OSError as error:
        raise OutputError(
            f"The folder {studies.name} cannot be written: {error.strerror}.",
            "Labels are kept in it: see who may write there.",
        ) from error
    try:
        yield
    finally:
        lock.release()


def uvicorn_options(configuration: ServerConfiguration) -> dict[str, Any]:
    """Return how uvicorn listens and answers.

    Parameters
    ----------
    configuration
        The server's set-up.
    """
    from covid_bert.server.connections import ImpatientProtocol

    return {
        "http": ImpatientProtocol,
        "host": configuration.host,
        "port": configuration.port,
        "root_path": configuration.root_path,
        "ssl_certfile": configuration.tls_certificate,
        "ssl_keyfile": configuration.tls_key,
        "proxy_headers": bool(configuration.trusted_proxies),
        "forwarded_allow_ips": list(configuration.trusted_proxies),
        "log_level": "info",
        "log_config": None,
        # Its lines hold the ids of studies, which are the names of files.
        "access_log": False,
        "server_header": False,
        "ws": "none",
        "timeout_graceful_shutdown": GRACE_SECONDS,
    }


def _check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServerError(
                f"Port {port} cannot be used: {error.strerror}.", "Choose another with --port."
            ) from error


@contextmanager
def running_server(
    studies: Path, log: Path, *, timeout: float = 180.0, options: Sequence[str] = (), certificate: Path | None = None
) -> Iterator[str]:
    """Run a server as a child process on a free port while the block runs.

    Parameters
    ----------
    studies
        Folder with the studies.
    log
        File for the server's output.
    timeout
        Seconds that it may take to answer.
    options
        Further options of ``covid-bert serve``.
    certificate
        What the server's certificate is checked with, if it encrypts.

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
    url = f"{'http' if certificate is None else 'https'}://127.0.0.1:{port}"
    with log.open("wb") as output:
        process = subprocess.Popen([*command, *options], stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait(process, url, timeout, log, certificate)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, timeout: float, log: Path, certificate: Path | None) -> None:
    deadline = time.monotonic() + timeout
    # A proxy of the environment must not be asked for this machine.
    context = ssl.create_default_context(cafile=certificate)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
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
