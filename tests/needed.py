"""What tests need beside the code: the root, and packages and programs whose absence is a failure where CI=true."""

from __future__ import annotations

import importlib
import os
import shutil
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
    # Servers lie where the path of an ordinary user does not lead.
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    return found or _missing(f"The program {name} is missing: apt-get install {package}")


def _missing(message: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
