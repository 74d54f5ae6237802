"""A real archive: Orthanc with DICOMweb, on this machine alone."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from needed import require_program

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_START_SECONDS = 120.0


class Archive(str):
    """Address of a running archive, and its process, which a test may stop or kill."""

    process: subprocess.Popen[bytes]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_orthanc(folder: Path, **settings: object) -> Iterator[Archive]:
    """Start Orthanc in a folder and yield its address; it is ended at the end. What it has stays in the folder.

    Parameters
    ----------
    folder
        For its configuration, storage and log.
    **settings
        Further settings of Orthanc's configuration file.
    """
    program = require_program("Orthanc", "orthanc orthanc-dicomweb")
    assert PLUGIN.exists(), "apt-get install orthanc-dicomweb"
    for _ in range(3):  # another program may take the port first
        port = free_port()
        configuration = {
            "Name": "TEST",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "HttpPort": port,
            # It listens on all addresses whatever is said; others than this machine's are refused.
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomServerEnabled": False,
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            **settings,
        }
        file = folder / "orthanc.json"
        file.write_text(json.dumps(configuration))
        with (folder / "orthanc.log").open("w") as log:
            process = subprocess.Popen([program, str(file)], stdout=log, stderr=subprocess.STDOUT)
        try:
            address = Archive(f"http://127.0.0.1:{port}")
            address.process = process
            if _answers(address, process):
                yield address
                return
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    pytest.fail(f"Orthanc did not start: {(folder / 'orthanc.log').read_text()[-2000:]}")


def _answers(address: str, process: subprocess.Popen[bytes]) -> bool:
    """Wait until it answers; False if it ended."""
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/system", timeout=5) as reply:
                return bool(reply.status == 200)
        except urllib.error.HTTPError as error:
            return error.code == 401
        except OSError:
            time.sleep(0.1)
    return False
