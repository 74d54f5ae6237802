"""Fetching weights of the registry from a server on loopback."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from covid_bert.errors import OfflineError, WeightsError
from covid_bert.weights import importing, registry
from covid_bert.weights.fetching import fetch
from covid_bert.weights.store import list_versions, live


@pytest.fixture
def study_on_server(authors_checkpoint, server, monkeypatch) -> registry.RegistryEntry:
    """A registry entry whose file lies on the loopback server."""
    server.content = authors_checkpoint.read_bytes()
    digest = hashlib.sha256(server.content).hexdigest()
    item = registry.entry("s1-study-network").model_copy(
        update={"url": server.url, "file_name": "study-bert.pth", "sha256_prefix": digest[:8]}
    )
    monkeypatch.setattr(registry, "entries", lambda: (item,))
    monkeypatch.setattr(importing, "entries", lambda: (item,))
    return item


def test_fetching_downloads_checks_and_installs_once(study_on_server, server, store: Path):
    weights = fetch("s1-study-network")
    assert live("s1-study-network") == weights
    assert weights.manifest.source_file.registry_match == "sha256-prefix"
    assert weights.manifest.trained_on == study_on_server.trained_on
    assert weights.manifest.metrics == study_on_server.metrics
    assert [item.name for item in (store / "downloads").iterdir() if item.suffix != ".lock"] == []
    assert fetch("s1-study-network") == weights
    assert len(server.requests) == 1


def test_fetching_replaces_damaged_weights(study_on_server, server):
    weights = fetch("s1-study-network")
    weights.path.write_bytes(b"damaged")
    assert fetch("s1-study-network").version == "v002"
    assert live("s1-study-network").version == "v002"


def test_fetching_something_else_installs_nothing(study_on_server, server):
    server.content = server.content[:-1] + b"x"
    with pytest.raises(WeightsError, match="arrived damaged"):
        fetch("s1-study-network")
    assert list_versions("s1-study-network") == []


def test_fetching_offline_is_explained(study_on_server, server, monkeypatch):
    monkeypatch.setattr("covid_bert.weights.download._wait", lambda *_: None)
    server.default = "status:503"
    with pytest.raises(OfflineError, match="covid-bert weights import FILE"):
        fetch("s1-study-network")


@pytest.mark.parametrize("name", ["s1-clip-network", "s1-study-network", "s2-clip-network", "s2-embedding-mlp"])
def test_unpublished_weights_are_to_be_asked_for(name):
    with pytest.raises(WeightsError, match="no public address") as caught:
        fetch(name)
    assert f"covid-bert weights import FILE --name {name}" in caught.value.hint
    assert "authors" in caught.value.hint
