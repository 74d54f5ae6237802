"""One pointer moves a whole system, also while a study is computed; damaged versions are replaced, and named."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from covid_bert.errors import WeightsError
from covid_bert.networks.architectures import ARCHITECTURES
from covid_bert.networks.devices import choose_device
from covid_bert.systems import base
from covid_bert.systems.configuration import S1_CONFIGURATIONS, S2_CONFIGURATIONS, Part, S1Configuration
from covid_bert.systems.in_use import weights_in_use
from covid_bert.systems.loading import LoadedNetworks, load_networks, weights_of
from covid_bert.systems.s1 import TwoStageSystem
from covid_bert.weights.installing import add_version
from covid_bert.weights.manifest import Provenance
from covid_bert.weights.registry import Role
from covid_bert.weights.store import list_versions, publish
from covid_bert.weights.version_folder import InstalledWeights

pytestmark = pytest.mark.usefixtures("small_networks")
S1, S2 = S1_CONFIGURATIONS["small"], S2_CONFIGURATIONS["small"]
ROLES = {"clip": Role.CLIP_NETWORK, "study": Role.STUDY_NETWORK, "mlp": Role.MLP, "density": Role.DENSITY}


def install(part: Part, role: str, seed: int, *fitted_with: InstalledWeights) -> InstalledWeights:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = ARCHITECTURES[part.architecture]().state_dict()
    if role == "density":
        state["mean"] = torch.full_like(state["mean"], float(seed))
    others = {weights.name: weights.sha256 for weights in fitted_with}
    provenance = Provenance(architecture=part.architecture, role=ROLES[role], fitted_with=others)
    return add_version(part.weights, state, provenance)


def install_set(configuration: S1Configuration, seed: int) -> dict[str, InstalledWeights]:
    """Clip network, head and density that belong together; nothing goes live."""
    head = configuration.head
    parts = configuration.parts
    clip = install(parts["clip"], "clip", seed)
    return {
        "clip": clip,
        head: install(parts[head], head, seed, clip),
        "density": install(parts["density"], "density", seed, clip),
    }


def used(configuration: S1Configuration) -> dict[str, str]:
    return {role: weights.sha256 for role, weights in weights_of(configuration).weights.items()}


def hashes(versions: dict[str, InstalledWeights]) -> dict[str, str]:
    return {role: weights.sha256 for role, weights in versions.items()}


def damage(weights: InstalledWeights) -> None:
    content = bytearray(weights.path.read_bytes())
    content[-1] ^= 1
    weights.path.write_bytes(content)


@pytest.fixture
def two_sets() -> list[dict[str, InstalledWeights]]:
    """Two versions of S1; the first is live by the pointer of its head alone."""
    sets = [install_set(S1, 1), install_set(S1, 2)]
    publish(S1.parts["study"].weights, sets[0]["study"].version)
    return sets


def test_one_pointer_moves_a_whole_system(two_sets) -> None:
    assert used(S1) == hashes(two_sets[0])
    publish(S1.parts["study"].weights, two_sets[1]["study"].version)
    assert used(S1) == hashes(two_sets[1])


def test_two_systems_use_different_versions_of_one_network(two_sets) -> None:
    other = install_set(S2, 3)
    publish(S2.parts["mlp"].weights, other["mlp"].version)
    device = choose_device("cpu")
    first = load_networks(S1, device, torch.float32)
    second = load_networks(S2, device, torch.float32)
    assert first.by_role["clip"].identity.sha256 == two_sets[0]["clip"].sha256
    assert second.by_role["clip"].identity.sha256 == other["clip"].sha256
    again = load_networks(S1, device, torch.float32)
    assert again.by_role["clip"] is first.by_role["clip"], "one system does not drive the other's out of memory"


def test_networks_of_former_versions_leave_the_memory(two_sets) -> None:
    from covid_bert.systems import loading

    device = choose_device("cpu")
    load_networks(S1, device, torch.float32)
    publish(S1.parts["study"].weights, two_sets[1]["study"].version)
    load_networks(S1, device, torch.float32)
    assert len(loading._cache) == 3


def test_a_request_uses_one_set_while_the_pointer_moves(two_sets, phantom, monkeypatch) -> None:
    """The pointer moves between the loading of a system's networks, and before they run."""
    configuration = S1Configuration(
        name="test",
        parts=S1.parts,
        open_lungs="corrected",
        slice_choice="windows",
        stack_side=120,
        input_side=96,
        head="study",
    )
    seen: list[LoadedNetworks] = []
    original_load = load_networks.__globals__["_load"]

    def load(part: Part, *others: object) -> object:
        publish(S1.parts["study"].weights, two_sets[1]["study"].version)
        return original_load(part, *others)

    monkeypatch.setitem(load_networks.__globals__, "_load", load)
    monkeypatch.setattr(base, "load_networks", lambda *given: seen.append(load_networks(*given)) or seen[-1])
    system = TwoStageSystem(configuration, device="cpu")
    during = system.classify(phantom.volume, phantom.lungs).result
    after = system.classify(phantom.volume, phantom.lungs).result
    for result, versions in ((during, two_sets[0]), (after, two_sets[1])):
        named = {item.name: item.sha256 for item in result.provenance.weights}
        for role, part in S1.parts.items():
            assert named[part.weights] == versions[role].sha256
    assert len(seen) == 2


@pytest.mark.parametrize("role", ["study", "clip", "density"])
def test_a_damaged_network_brings_back_the_former_set(two_sets, role: str) -> None:
    publish(S1.parts["study"].weights, two_sets[1]["study"].version)
    before = weights_in_use()
    damage(two_sets[1][role])
    found = weights_of(S1)
    assert {name: weights.sha256 for name, weights in found.weights.items()} == hashes(two_sets[0])
    assert len(found.warnings) == 1
    assert f"{S1.parts['study'].weights} v001 was used in its place" in found.warnings[0]
    assert weights_in_use() != before, "a result that was kept is computed anew"


def test_without_a_former_set_damage_is_an_error(two_sets) -> None:
    damage(two_sets[0]["clip"])
    with pytest.raises(WeightsError, match="damaged"):
        weights_of(S1)


def test_the_density_of_the_head_goes_before_a_general_one(two_sets) -> None:
    clip, head = two_sets[0]["clip"], two_sets[0]["study"]
    own = install(S1.parts["density"], "density", 5, clip, head)
    install(S1.parts["density"], "density", 6, clip, two_sets[1]["study"])
    assert used(S1)["density"] == own.sha256
    newer = install(S1.parts["density"], "density", 7, clip, head)
    assert used(S1)["density"] == newer.sha256


def test_what_is_not_installed_with_its_head_is_an_error(two_sets) -> None:
    stranger = two_sets[1]["clip"]
    publish(stranger.name, stranger.version)
    for item in (stranger.path, stranger.path.parent / "manifest.json"):
        item.unlink()
    stranger.path.parent.rmdir()
    publish(two_sets[1]["study"].name, two_sets[1]["study"].version)
    damage(two_sets[0]["study"])
    with pytest.raises(WeightsError, match="another version"):
        weights_of(S1)


def test_what_would_be_used_changes_with_every_pointer(two_sets) -> None:
    states = [weights_in_use()]
    assert weights_in_use() == states[0]
    publish(S1.parts["study"].weights, two_sets[1]["study"].version)
    states.append(weights_in_use())
    other = install_set(S2, 3)
    publish(S2.parts["mlp"].weights, other["mlp"].version)
    states.append(weights_in_use())
    assert len({str(state) for state in states}) == 3


def test_a_candidate_changes_nothing(two_sets) -> None:
    before: Callable[[], object] = lambda: weights_of(S1).weights  # noqa: E731
    now = before()
    install_set(S1, 9)
    assert before() == now
    assert len(list_versions(S1.parts["study"].weights)) == 3
