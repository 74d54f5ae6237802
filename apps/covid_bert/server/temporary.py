"""The server's folder for everything that must not outlive it: uploads, sessions, replies."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
from pathlib import Path

from covid_bert.weights.location import home

_PREFIX = "server-"
# A worker may still write while the folder is being removed.
_REMOVE_AFTER_END = """
import os, shutil, signal, sys, time
for name in ("SIGTERM", "SIGHUP"):
    if hasattr(signal, name):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
sys.stdin.buffer.read()
for _ in range(100):
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    if not os.path.exists(sys.argv[1]):
        break
    time.sleep(0.1)
"""
# Their inputs stay open as long as this process lives.
_guards: list[subprocess.Popen[bytes]] = []


def own_temporary_folder() -> Path:
    """Make this process's folder (mode 0700), and remove those of servers that were killed.

    It is removed when the process ends in order, and by a small process beside it when it is killed. If that one was
    killed too, or after a power failure, the next server's start removes it.

    Returns
    -------
    Path
        Named after the process, in the program's data folder.
    """
    root = home() / "temporary"
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    for folder in root.glob(f"{_PREFIX}*"):
        if not _is_running(folder.name.removeprefix(_PREFIX)):
            shutil.rmtree(folder, ignore_errors=True)
    own = root / f"{_PREFIX}{os.getpid()}"
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(mode=0o700)
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    _guards.append(_guard(own))
    return own


def _guard(folder: Path) -> subprocess.Popen[bytes]:
    """Start the process that removes a folder when this one has ended, which it notices by the end of its input."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _REMOVE_AFTER_END, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # A signal to the server's group, such as Ctrl+C, must not end it first.
        start_new_session=True,
    )


def _is_running(process: str) -> bool:
    if os.name == "nt":
        return True  # There, signal 0 would not ask but interrupt.
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
