"""The server's folder for everything that must not outlive it: uploads, sessions, replies."""

from __future__ import annotations

import atexit
import contextlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from filelock import FileLock

from covid_bert.errors import OutputError
from covid_bert.weights.location import home

_PREFIX = "server-"
# In each folder, held as long as its server lives; in the one with all of them, while one is made.
_LOCK = "lock"
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
    killed too, or after a power failure, the next server's start removes it: its lock is free, whoever has the number
    of the process by then.

    Returns
    -------
    Path
        In the program's data folder.

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    root = home() / "temporary"
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        # No other server's start may look at the folder before it is locked.
        with FileLock(root / _LOCK, mode=0o600):
            for folder in root.glob(f"{_PREFIX}*"):
                _remove_if_abandoned(folder)
            own = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
            held = FileLock(own / _LOCK, mode=0o600)
            held.acquire(timeout=0)
    except OSError as error:
        raise OutputError(
            f"The server's temporary folder cannot be made: {error.strerror}.",
            "Free disk space, or let this user write to the program's data folder; COVID_BERT_HOME names another one.",
        ) from error
    atexit.register(_remove, own, held)
    _guards.append(_guard(own))
    return own


def _remove(own: Path, held: FileLock) -> None:
    # Windows removes no file that is open.
    held.release()
    shutil.rmtree(own, ignore_errors=True)


def _remove_if_abandoned(folder: Path) -> None:
    """Remove the folder of a server that has ended: its lock is free. What cannot be asked for its lock stays."""
    held = FileLock(folder / _LOCK, mode=0o600)
    with contextlib.suppress(OSError):
        held.acquire(timeout=0)
        held.release()
        shutil.rmtree(folder, ignore_errors=True)


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
