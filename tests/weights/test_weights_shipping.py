"""Shipping: the live default weights go into the package, and the registry knows them."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest

from covid_bert.errors import WeightsError
from covid_bert.weights.files import sha256_of
from covid_bert.weights.installing import add_version
from covid_bert.weights.manifest import Provenance
from covid_bert.weights.registry import entry
from covid_bert.weights.shipping import ship
from covid_bert.weights.store import publish
from covid_bert.weights.untrained import untrained

NAME = "default-embedding-mlp"


@pytest.fixture
def registry(tmp_path) -> Path:
    copy = tmp_path / "registry.json"
    copy.write_bytes(resources.files("covid_bert.weights").joinpath("registry.json").read_bytes())
    return copy


@pytest.fixture
def trained(monkeypatch, tmp_path):
    monkeypatch.setenv("COVID_BERT_HOME", str(tmp_path / "home"))
    known = entry(NAME)
    provenance = Provenance(
        architecture=known.architecture, role=known.role, licence=known.licence, demonstration=True, input=known.input
    )
    weights = add_version(NAME, untrained(known.architecture, 3)[0].state_dict(), provenance)
    return publish(NAME, weights.version)


def test_live_weights_replace_the_shipped_ones_and_the_registry_knows_them(trained, registry, tmp_path) -> None:
    root = tmp_path / "shipped"
    old = root / NAME / "v000"
    old.mkdir(parents=True)
    lines = ship(root, registry)
    shipped = root / NAME / trained.version / trained.path.name
    assert not old.exists()
    assert sha256_of(shipped) == trained.sha256
    facts = {item["name"]: item for item in json.loads(registry.read_text())["entries"]}
    assert facts[NAME]["sha256"] == trained.sha256
    assert facts[NAME]["bytes"] == shipped.stat().st_size
    assert any(line.startswith(f"{NAME} {trained.version}") for line in lines)


def test_what_is_shipped_already_stays_as_it_is(registry, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("COVID_BERT_HOME", str(tmp_path / "nothing"))
    before = registry.read_text()
    first = ship(tmp_path / "shipped", registry)
    assert registry.read_text() == before
    assert ship(tmp_path / "shipped", registry) == first


def test_damaged_weights_are_not_shipped(trained, registry, tmp_path) -> None:
    content = bytearray(trained.path.read_bytes())
    content[-1] ^= 1
    trained.path.write_bytes(bytes(content))
    before = registry.read_text()
    with pytest.raises(WeightsError, match="damaged"):
        ship(tmp_path / "shipped", registry)
    assert registry.read_text() == before
    assert not (tmp_path / "shipped" / NAME).exists()
