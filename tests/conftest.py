"""Fixtures and rules for all tests: a fresh data folder, and missing programs are failures where CI=true."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

pytest_plugins = ["small_networks"]

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def sample_data() -> Path:
    return REPOSITORY / "sample-data"


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees, or writes to, the weights of the user."""
    monkeypatch.setenv("COVID_BERT_HOME", str(tmp_path_factory.mktemp("home")))


def require_program(name: str, package: str) -> str:
    """Return the path of a program, or say which is missing: a skip at home, a failure in CI."""
    path = shutil.which(name)
    if path is None:
        message = f"The program {name} is missing: apt-get install {package}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return path


def require_module(name: str, how: str) -> None:
    """Say which Python package is missing: a skip at home, a failure in CI."""
    try:
        __import__(name)
    except ImportError:
        message = f"The Python package {name} is missing: {how}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
