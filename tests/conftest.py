"""Fixtures for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from needed import REPOSITORY

pytest_plugins = ["lesion_networks", "small_networks"]


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
