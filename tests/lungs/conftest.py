"""Fixtures of the lung tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from chest_models import Chest, make_chest

from covid_bert.weights import store


@pytest.fixture(autouse=True)
def _nothing_shipped(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The default method is morphological here, whatever comes with the program."""
    nothing: Path = tmp_path_factory.mktemp("nothing-shipped")
    monkeypatch.setattr(store, "shipped_root", lambda: nothing)


@pytest.fixture(scope="session")
def chest() -> Chest:
    return make_chest()
