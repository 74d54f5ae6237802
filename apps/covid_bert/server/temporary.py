"""The server's folder for everything that must not outlive it: uploads, sessions, replies."""

from __future__ import annotations

import atexit
import os
import shutil
from pathlib import Path

from covid_bert.weights.location import home

_PREFIX = "server-"


def own_temporary_folder() -> Path:
    """Make this process's folder (mode 0700), and remove those of servers that were killed.

    It is removed when the process ends in order; after a kill or power failure, the next server's start removes it.

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
    return own


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
