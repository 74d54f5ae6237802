"""What tests need beside the code: the repository's root, and packages whose absence is a failure where CI=true."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def require_module(name: str, how: str) -> None:
    """Say which Python package is missing: a skip at home, a failure in CI."""
    try:
        __import__(name)
    except ImportError:
        message = f"The Python package {name} is missing: {how}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
