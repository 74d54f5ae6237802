"""Weights that come with the program: served where nothing else is live, checked like all others."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console

from covid_bert.commands import weights as commands
from covid_bert.errors import WeightsError
from covid_bert.weights import store
from covid_bert.weights.importing import import_checkpoint
from covid_bert.weights.installing import add_version
from covid_bert.weights.location import shipped_root, weights_root
from covid_bert.weights.manifest import Provenance
from covid_bert.weights.registry import Role
from covid_bert.weights.store import installed, list_names, list_versions, live, live_version, load_into, publish
from covid_bert.weights.untrained import untrained
from covid_bert.weights.verify import Problem, verify_installed

NAME = "default-lungs"
ARCHITECTURE = "lung-segmenter"


def state(seed: int) -> dict[str, torch.Tensor]:
    return untrained(ARCHITECTURE, seed)[0].state_dict()


def install(seed: int) -> store.InstalledWeights:
    return add_version(NAME, state(seed), Provenance(architecture=ARCHITECTURE, role=Role.LUNGS, demonstration=True))


@pytest.fixture
def ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Path]:
    """Moves weights of a seed into a shipped folder and returns their folder; the user's own store is empty again."""
    root = tmp_path / "shipped"
    root.mkdir()
    monkeypatch.setattr(store, "shipped_root", lambda: root)

    def move(seed: int = 0) -> Path:
        folder = install(seed).path.parent
        (root / NAME).mkdir(exist_ok=True)
        shutil.move(folder, root / NAME)
        shutil.rmtree(weights_root() / NAME)
        return root / NAME / folder.name

    return move


def is_of(seed: int, module: torch.nn.Module) -> bool:
    return all(torch.equal(value, module.state_dict()[key]) for key, value in state(seed).items())


def shown(command: Callable[[Console], None]) -> str:
    console = Console(file=io.StringIO(), width=160)
    command(console)
    return console.file.getvalue()


def test_shipped_weights_lie_inside_the_package() -> None:
    assert shipped_root() == Path(store.__file__).parent / "shipped"


def test_nothing_shipped_is_nothing_live(ship) -> None:
    assert live(NAME) is None
    assert live_version(NAME) is None
    assert list_versions(NAME) == list_names() == []


def test_shipped_weights_are_live_where_nothing_else_is(ship) -> None:
    folder = ship(3)
    weights = live(NAME)
    assert weights.shipped
    assert (weights.version, weights.path.parent) == ("v001", folder)
    assert installed(NAME, "v001") == weights.verified()
    assert list_names() == [NAME]
    module = untrained(ARCHITECTURE, 0)[0]
    identity = load_into(module, NAME, architecture=ARCHITECTURE)
    assert is_of(3, module)
    assert identity.demonstration
    assert identity == load_into(module, weights)


def test_published_weights_go_before_shipped_ones_and_back(ship) -> None:
    ship(0)
    own = install(1)
    assert own.version == "v002", "a number names one version only"
    assert live(NAME).shipped, "installed is not yet live"
    publish(NAME, "v002")
    assert live(NAME) == own
    module = untrained(ARCHITECTURE, 0)[0]
    load_into(module, NAME)
    assert is_of(1, module)
    publish(NAME, "v001")
    assert live(NAME).shipped
    assert list_versions(NAME) == ["v001", "v002"]
    # An update of the program brings another shipped version: no pointer holds the old one.
    newer = live(NAME).path.parent.with_name("v003")
    live(NAME).path.parent.rename(newer)
    manifest = newer / "manifest.json"
    manifest.write_text(manifest.read_text().replace("v001", "v003"))
    assert live(NAME).version == "v003"


def test_own_weights_of_the_same_number_are_not_mixed_up_with_shipped_ones(ship) -> None:
    ship(0)
    own = install(1)
    ship_newer = live(NAME).path.parent.with_name("v002")
    shutil.copytree(live(NAME).path.parent, ship_newer)
    manifest = ship_newer / "manifest.json"
    manifest.write_text(manifest.read_text().replace("v001", "v002"))
    assert live(NAME).path.parent == ship_newer
    module = untrained(ARCHITECTURE, 5)[0]
    load_into(module, live(NAME))
    assert is_of(0, module)
    publish(NAME, "v002")
    assert live(NAME) == own


def test_damaged_shipped_weights_are_a_typed_error(ship) -> None:
    folder = ship(0)
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(WeightsError, match="damaged") as caught:
        load_into(untrained(ARCHITECTURE, 0)[0], NAME)
    assert "install the program again" in caught.value.hint
    assert [item.problem for item in verify_installed()] == [Problem.CHECKSUM]
    with pytest.raises(WeightsError, match="1 things are wrong"):
        shown(commands.verify)
    file.unlink()
    with pytest.raises(WeightsError, match="missing"):
        live(NAME).verified()
    (folder / "manifest.json").write_text("{")
    with pytest.raises(WeightsError, match="manifest"):
        live(NAME)
    assert [item.problem for item in verify_installed()] == [Problem.MANIFEST]


def test_weights_that_are_shipped_are_not_installed_twice(ship) -> None:
    folder = ship(0)
    assert import_checkpoint(folder / "model.safetensors").shipped
    assert not weights_root().joinpath(NAME).exists()


def test_the_commands_show_shipped_weights(ship) -> None:
    ship(0)
    row = next(line for line in shown(commands.show).splitlines() if NAME in line)
    assert "v001 (live, shipped)" in row
    assert "1 sets of weights are installed or shipped, all intact" in shown(commands.verify)
    assert verify_installed() == []
    publish(NAME, install(1).version)
    row = next(line for line in shown(commands.show).splitlines() if NAME in line)
    # The states are wrapped where the terminal is narrow.
    assert "v002 (live)" in row
    assert "live, shipped" not in row
