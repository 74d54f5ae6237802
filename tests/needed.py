"""What tests need beside the code: the repository's root, and packages whose absence is a failure where CI=true."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def require_module(name: str, how: str) -> ModuleType:
    """Import a package, or say which is missing: a skip at home, a failure in CI."""
    try:
        return importlib.import_module(name)
    except ImportError:
        message = f"The Python package {name} is missing: {how}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
