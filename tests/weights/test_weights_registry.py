"""The registry: consistent facts, no guesses."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from covid_bert.errors import NotFoundError
from covid_bert.networks.architectures import ARCHITECTURES
from covid_bert.weights import importing
from covid_bert.weights.files import sha256_of
from covid_bert.weights.installing import add_version
from covid_bert.weights.layouts import LUNGMASK_R231
from covid_bert.weights.location import shipped_root
from covid_bert.weights.manifest import Provenance
from covid_bert.weights.registry import RegistryEntry, entries, entry
from covid_bert.weights.store import load_into
from covid_bert.weights.untrained import untrained
from covid_bert.weights.version_folder import MODEL_FILE, read_version


@pytest.mark.parametrize("item", entries(), ids=lambda item: item.name)
def test_an_entry_is_consistent(item: RegistryEntry):
    assert item.architecture in {*ARCHITECTURES, LUNGMASK_R231}
    assert importing.ROLES[item.architecture] is item.role
    if item.url is not None:
        assert item.url.endswith(f"/{item.file_name}")
        assert item.known_sha256 is not None
        # PyTorch's file names end in the first eight digits of the SHA-256.
        assert item.file_name.endswith(f"-{item.known_sha256[:8]}.pth")


def test_every_architecture_has_a_role():
    assert set(importing.ROLES) == {*ARCHITECTURES, LUNGMASK_R231}


def test_checkpoints_without_public_address_claim_no_file():
    private = [item for item in entries() if item.url is None and not (shipped_root() / item.name).is_dir()]
    assert {item.system for item in private} == {"S1", "S2", "any"}
    assert all(item.known_sha256 is None and item.bytes is None and item.file_name is None for item in private)


def test_a_shipped_file_is_the_one_of_the_registry_and_of_its_manifest():
    found = sorted(shipped_root().glob(f"*/v*/{MODEL_FILE}"))
    for path in found:
        check_shipped(path)
    assert sum(path.stat().st_size for path in found) < 30e6


def check_shipped(path: Path) -> None:
    weights, item = read_version(path.parent), entry(path.parent.parent.name)
    # The file fits the network of this version of the program.
    load_into(ARCHITECTURES[weights.manifest.architecture](), weights)
    assert sha256_of(path) == weights.sha256 == item.sha256
    assert path.stat().st_size == weights.manifest.bytes
    assert weights.manifest.demonstration
    assert (weights.manifest.architecture, weights.manifest.role) == (item.architecture, item.role)
    assert weights.manifest.licence == item.licence
    window = weights.manifest.input.window_hu if weights.manifest.input is not None else None
    assert window == item.input.window_hu
    assert item.demonstration


def test_a_shipped_file_that_the_registry_does_not_know_is_noticed(monkeypatch, tmp_path):
    monkeypatch.setenv("COVID_BERT_HOME", str(tmp_path))
    item = entry("default-lungs")
    provenance = Provenance(
        architecture=item.architecture, role=item.role, licence=item.licence, demonstration=True, input=item.input
    )
    weights = add_version(item.name, untrained(item.architecture, 0)[0].state_dict(), provenance)
    with pytest.raises(AssertionError):
        check_shipped(weights.path)
    monkeypatch.setitem(
        check_shipped.__globals__, "entry", lambda _: item.model_copy(update={"sha256": weights.sha256})
    )
    check_shipped(weights.path)


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(NotFoundError) as caught:
        entry("nothing")
    assert "s2-clip-network" in caught.value.details["known"]


@pytest.mark.parametrize(
    "change",
    [
        {"url": "http://example.org/a-00000000.pth"},
        {"sha256": "0" * 64, "sha256_prefix": "00000000"},
        {"sha256": "xyz"},
        {"name": "Not A Name"},
        {"unknown": 1},
        {"role": "judge"},
    ],
)
def test_wrong_entries_are_refused(change):
    with pytest.raises(ValidationError):
        RegistryEntry.model_validate({**entry("s2-clip-network").model_dump(), **change})
