"""With which versions a run began: the same ones when it is taken up again, or it says that they are others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from covid_bert.errors import WeightsError
from covid_bert.retraining.start import START_FILE, starting_versions
from covid_bert.weights.installing import add_version
from covid_bert.weights.manifest import Provenance
from covid_bert.weights.registry import Role
from covid_bert.weights.store import installed, publish
from covid_bert.weights.untrained import untrained
from covid_bert.weights.version_folder import MANIFEST_FILE, InstalledWeights

NAME = "mlp"


def published(seed: int) -> InstalledWeights:
    provenance = Provenance(architecture="embedding-mlp", role=Role.MLP)
    weights = add_version(NAME, untrained("embedding-mlp", seed)[0].state_dict(), provenance)
    return publish(NAME, weights.version)


def test_what_was_live_when_it_began(tmp_path: Path) -> None:
    first = published(1)
    assert starting_versions(tmp_path, [NAME]) == {NAME: first}
    published(2)
    assert starting_versions(tmp_path, [NAME]) == {NAME: first}


def test_a_version_that_was_replaced_meanwhile_is_noticed(tmp_path: Path) -> None:
    first = published(1)
    starting_versions(tmp_path, [NAME])
    # Sound in itself, as after another folder was copied over it.
    other, place = published(2), first.path.parent
    shutil.rmtree(place)
    shutil.copytree(other.path.parent, place)
    manifest = place / MANIFEST_FILE
    manifest.write_text(manifest.read_text().replace(other.version, first.version))
    assert installed(NAME, first.version).verified().sha256 == other.sha256
    with pytest.raises(WeightsError, match=f"{NAME} {first.version} is not what this training began with"):
        starting_versions(tmp_path, [NAME])


def test_a_damaged_or_missing_version_is_noticed(tmp_path: Path) -> None:
    first = published(1)
    starting_versions(tmp_path, [NAME])
    published(2)
    first.path.write_bytes(first.path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="is damaged"):
        starting_versions(tmp_path, [NAME])
    shutil.rmtree(first.path.parent)
    with pytest.raises(WeightsError, match="is not installed"):
        starting_versions(tmp_path, [NAME])


@pytest.mark.parametrize("content", ["", "{", '{"mlp": "v001"}', '{"mlp": {"version": "v001"}}'])
def test_what_cannot_be_read_is_said(tmp_path: Path, content: str) -> None:
    published(1)
    (tmp_path / START_FILE).write_text(content)
    with pytest.raises(WeightsError, match="With which weights this training began cannot be read"):
        starting_versions(tmp_path, [NAME])
