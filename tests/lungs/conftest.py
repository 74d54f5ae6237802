"""Fixtures of the lung tests."""

from __future__ import annotations

import pytest
from chest_models import Chest, make_chest


@pytest.fixture(scope="session")
def chest() -> Chest:
    return make_chest()
