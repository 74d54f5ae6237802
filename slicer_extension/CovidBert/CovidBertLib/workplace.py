"""The private folder with the files of the orders on their way; what a Slicer that crashed left is removed."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import IO

from .i18n import tr as _
from .problems import CovidBertError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_PREFIX = "CovidBert-"
_LOCK = ".in-use"


class Workplace:
    """A folder that only this user can read, for as long as the panel lives.

    The lock in it is held by the program, so that it ends with it however that ends: by it a further Slicer tells the
    folders that are in use from those that were left.

    Parameters
    ----------
    parent
        Where it is made; folders there that were left by a Slicer that crashed are removed first.

    Raises
    ------
    OSError
        If no folder can be made there.
    """

    def __init__(self, parent: Path) -> None:
        remove_left_folders(parent)
        self._outer = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        self._lock = (self._outer / _LOCK).open("wb")
        _lock(self._lock)
        #: Where the orders' folders lie.
        self.folder = self._outer / "orders"
        self.folder.mkdir(0o700)

    def remove(self) -> None:
        """Remove the folder with all that is in it; it can be called again."""
        self._lock.close()
        shutil.rmtree(self._outer, ignore_errors=True)


def new_folder(work: Path) -> Path:
    """Make a private folder for one order.

    Parameters
    ----------
    work
        `Workplace.folder`.

    Raises
    ------
    CovidBertError
        If it cannot be made.
    """
    try:
        return Path(tempfile.mkdtemp(dir=work))
    except OSError as error:
        raise CovidBertError(
            _("No folder could be made for the task: {reason}.").format(reason=error.strerror or _("unknown")),
            _("Make space on the disk of {folder}, then try again.").format(folder=work.parent.parent),
            "disk",
        ) from error


def remove_left_folders(parent: Path) -> None:
    """Remove the folders of this user that no program holds any more; what cannot be removed stays."""
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            if _is_own(folder) and not _is_held(folder / _LOCK):
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            # Without a lock it is being made just now; or another Slicer removes it.
            continue


def _is_own(folder: Path) -> bool:
    facts = folder.lstat()
    return stat.S_ISDIR(facts.st_mode) and (sys.platform == "win32" or facts.st_uid == os.getuid())


def _is_held(lock: Path) -> bool:
    with lock.open("rb+") as file:
        try:
            _lock(file)
        except OSError:
            return True
    return False


def _lock(file: IO[bytes]) -> None:
    """Take the lock that the system gives back when the program ends; OSError if another holds it."""
    if sys.platform == "win32":
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
