from __future__ import annotations

import pytest

from needed import require_module


@pytest.fixture(autouse=True, scope="session")
def _monailabel() -> None:
    require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")
