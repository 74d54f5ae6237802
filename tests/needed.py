"""What tests need beside the code: the root, and packages and programs whose absence is a failure where CI=true."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def require_module(name: str, how: str) -> ModuleType:
    """Import a package, or say which is missing: a skip at home, a failure in CI."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return _missing(f"The Python package {name} is missing: {how}")


def require_program(name: str, package: str) -> str:
    """Return the path of a program, or say which package of Debian has it: a skip at home, a failure in CI."""
    # Python packages bring programs of the same names; servers lie where the path of an ordinary user does not lead.
    own = str(Path(sys.executable).parent)
    places = [place for place in os.environ.get("PATH", os.defpath).split(os.pathsep) if place != own]
    found = shutil.which(name, path=os.pathsep.join([*places, "/usr/sbin", "/usr/local/sbin"]))
    return found or _missing(f"The program {name} is missing: apt-get install {package}")


def _missing(message: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
