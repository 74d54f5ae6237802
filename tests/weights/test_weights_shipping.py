"""Shipping: the live default weights go into the package, and the registry knows them."""

from __future__ import annotations

import json
import shutil
from importlib import resources
from pathlib import Path

import pytest

from covid_bert.errors import WeightsError
from covid_bert.weights import store
from covid_bert.weights.companions import companions
from covid_bert.weights.files import sha256_of
from covid_bert.weights.installing import add_version
from covid_bert.weights.manifest import Provenance
from covid_bert.weights.registry import Role, entry
from covid_bert.weights.serving import rollback
from covid_bert.weights.shipping import ship
from covid_bert.weights.store import installed, list_versions, live, newest_shipped, publish
from covid_bert.weights.untrained import untrained
from covid_bert.weights.verify import verify_installed
from covid_bert.weights.version_folder import InstalledWeights, read_version

NAME = "default-embedding-mlp"


@pytest.fixture
def registry(tmp_path) -> Path:
    copy = tmp_path / "registry.json"
    copy.write_bytes(resources.files("covid_bert.weights").joinpath("registry.json").read_bytes())
    return copy


@pytest.fixture
def trained(monkeypatch, tmp_path):
    monkeypatch.setenv("COVID_BERT_HOME", str(tmp_path / "home"))
    return published(3)


def published(seed: int) -> InstalledWeights:
    known = entry(NAME)
    provenance = Provenance(
        architecture=known.architecture, role=known.role, licence=known.licence, demonstration=True, input=known.input
    )
    weights = add_version(NAME, untrained(known.architecture, seed)[0].state_dict(), provenance)
    return publish(NAME, weights.version)


def test_live_weights_replace_the_shipped_ones_and_the_registry_knows_them(trained, registry, tmp_path) -> None:
    root = tmp_path / "shipped"
    old = root / NAME / "v003"
    old.mkdir(parents=True)
    lines = ship(root, registry)
    shipped = root / NAME / "r004" / trained.path.name
    assert not old.exists()
    assert read_version(shipped.parent).version == "r004"
    assert sha256_of(shipped) == trained.sha256
    facts = {item["name"]: item for item in json.loads(registry.read_text())["entries"]}
    assert facts[NAME]["sha256"] == trained.sha256
    assert facts[NAME]["bytes"] == shipped.stat().st_size
    assert any(line.startswith(f"{NAME} r004") for line in lines)


def test_an_update_brings_no_version_that_is_called_like_one_of_the_site(registry, tmp_path, monkeypatch) -> None:
    root = tmp_path / "shipped"
    monkeypatch.setattr(store, "shipped_root", lambda: root)

    def update(seed: int) -> None:
        monkeypatch.setenv("COVID_BERT_HOME", str(tmp_path / "release"))
        published(seed)
        ship(root, registry)
        monkeypatch.setenv("COVID_BERT_HOME", str(tmp_path / "site"))

    update(0)
    own = [published(seed) for seed in (1, 2, 3)]
    # As many as it takes to pass the numbers of the site.
    for seed in range(4, 9):
        update(seed)
        shipped = newest_shipped(NAME)
        assert installed(NAME, shipped.version) == shipped.verified()
        assert [installed(NAME, weights.version) for weights in own] == own
        assert len(list_versions(NAME)) == len(own) + 1
        assert live(NAME) == own[-1], "the pointer means what it meant"
    assert rollback(NAME) == own[-2], "and so does the history"


def test_what_was_fitted_with_shipped_weights_finds_them_after_an_update(registry, tmp_path, monkeypatch) -> None:
    root = tmp_path / "shipped"
    monkeypatch.setattr(store, "shipped_root", lambda: root)
    monkeypatch.setenv("COVID_BERT_HOME", str(tmp_path / "release"))
    published(0)
    ship(root, registry)
    monkeypatch.setenv("COVID_BERT_HOME", str(tmp_path / "site"))
    read = newest_shipped(NAME)
    heads = [fitted_with(read, seed) for seed in (1, 2)]
    monkeypatch.setenv("COVID_BERT_HOME", str(tmp_path / "release"))
    published(3)
    ship(root, registry)
    monkeypatch.setenv("COVID_BERT_HOME", str(tmp_path / "site"))
    assert live(NAME).sha256 != read.sha256
    for head in heads:
        found = companions({"head": head.name, "read": NAME}, "head", head)["read"]
        assert found.verified().sha256 == read.sha256
    assert len(list_versions(NAME)) == 2, "copied once"
    assert verify_installed() == []


def fitted_with(read: InstalledWeights, seed: int) -> InstalledWeights:
    provenance = Provenance(architecture="embedding-mlp", role=Role.MLP, fitted_with={read.name: read.sha256})
    return add_version("head", untrained("embedding-mlp", seed)[0].state_dict(), provenance)


def test_a_number_that_was_live_is_never_given_again(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("COVID_BERT_HOME", str(tmp_path / "site"))
    own = [published(seed) for seed in (1, 2)]
    shutil.rmtree(own[-1].path.parent)
    assert published(3).version not in {weights.version for weights in own}


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
