"""The registry: consistent facts, no guesses."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from covid_bert.errors import NotFoundError
from covid_bert.networks.architectures import ARCHITECTURES
from covid_bert.weights import importing
from covid_bert.weights.layouts import LUNGMASK_R231
from covid_bert.weights.registry import RegistryEntry, entries, entry


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
    private = [item for item in entries() if item.url is None]
    assert {item.system for item in private} == {"S1", "S2", "any"}
    assert all(item.known_sha256 is None and item.bytes is None and item.file_name is None for item in private)


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
