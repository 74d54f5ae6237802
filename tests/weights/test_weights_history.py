"""What was live: recorded with the pointer, gone back to, and used where the live version is damaged."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import pytest
import torch

from covid_bert.errors import ConflictError, ParameterError, WeightsError
from covid_bert.weights import store as weights_store
from covid_bert.weights.history import history, way_back
from covid_bert.weights.installing import add_version
from covid_bert.weights.manifest import Provenance
from covid_bert.weights.registry import Role
from covid_bert.weights.serving import anchor, rollback, serviceable
from covid_bert.weights.states import State, version_states
from covid_bert.weights.store import installed, list_versions, live, publish, standing
from covid_bert.weights.untrained import untrained
from covid_bert.weights.verify import Problem, verify_installed
from covid_bert.weights.version_folder import InstalledWeights

MLP = Provenance(architecture="embedding-mlp", role=Role.MLP)


def install(seed: int) -> str:
    return add_version("mlp", untrained("embedding-mlp", seed)[0].state_dict(), MLP).version


def damage(version: str) -> None:
    path = installed("mlp", version).path
    content = bytearray(path.read_bytes())
    content[-5] ^= 0xFF
    path.write_bytes(content)


@pytest.fixture
def shipped(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Version v001 came with the program, and nothing else is there."""
    root = tmp_path / "shipped"
    version = install(0)
    (root / "mlp").mkdir(parents=True)
    (store / "weights" / "mlp" / version).rename(root / "mlp" / version)
    monkeypatch.setattr(weights_store, "shipped_root", lambda: root)
    return version


def test_publications_are_recorded_and_gone_back_to_one_by_one(shipped: str) -> None:
    first, second = install(1), install(2)
    publish("mlp", first, by="anna", reason="Better.")
    publish("mlp", second, by="anna")
    assert [(line.version, line.by) for line in history("mlp")] == [(first, "anna"), (second, "anna")]
    assert rollback("mlp", by="bob").version == first == live("mlp").version
    assert rollback("mlp").version == shipped
    assert live("mlp").shipped
    with pytest.raises(ConflictError, match="was live before"):
        rollback("mlp")
    assert [line.back for line in history("mlp")] == [False, False, True, True]


def test_what_was_live_before_there_was_a_history_is_gone_back_to(store: Path) -> None:
    first, second = install(1), install(2)
    (store / "weights" / "mlp" / "live").write_text(f"{first}\n")
    publish("mlp", second)
    assert way_back("mlp") == [None, first, second]
    assert rollback("mlp").version == first


def test_a_version_that_was_rolled_back_is_not_gone_back_to(shipped: str) -> None:
    first, second, third = install(1), install(2), install(3)
    for version in (first, second):
        publish("mlp", version)
    rollback("mlp")
    publish("mlp", third)
    assert rollback("mlp").version == first
    assert rollback("mlp").version == shipped


def test_damaged_versions_are_passed_over(shipped: str) -> None:
    versions = [install(seed) for seed in (1, 2, 3)]
    for version in versions:
        publish("mlp", version)
    assert serviceable("mlp").warnings == ()
    damage(versions[2])
    damage(versions[1])
    found = serviceable("mlp")
    assert found.weights.version == versions[0]
    assert versions[2] in found.warning
    assert "SHA-256" in found.warning
    assert versions[0] in found.warning
    assert rollback("mlp").version == versions[0]
    damage(versions[0])
    served = serviceable("mlp")
    assert served.weights.version == shipped
    assert "came with the program" in served.warning


def test_a_candidate_never_takes_the_place_of_a_damaged_version() -> None:
    first, _ = install(1), install(2)
    publish("mlp", first)
    damage(first)
    with pytest.raises(WeightsError, match="damaged"):
        serviceable("mlp")


def test_states(shipped: str) -> None:
    versions = [install(seed) for seed in range(1, 5)]
    for version in versions[:3]:
        publish("mlp", version)
    damage(versions[1])
    assert {state.version: state.state for state in version_states("mlp")} == {
        shipped: State.SHIPPED,
        versions[0]: State.FORMER,
        versions[1]: State.DAMAGED,
        versions[2]: State.LIVE,
        versions[3]: State.CANDIDATE,
    }
    damage(versions[2])
    (live_one,) = [state for state in version_states("mlp") if state.is_live]
    assert (live_one.version, live_one.state) == (versions[2], State.DAMAGED)


def test_numbers_of_both_series_have_an_order(store: Path) -> None:
    expected = [f"{series}{number:03d}" for number in range(1, 9) for series in "rv"]
    for version in expected:
        root = weights_store.shipped_root() if version[0] == "r" else store / "weights"
        (root / "mlp" / version).mkdir(parents=True)
    assert list_versions("mlp") == expected


def test_what_was_compared_with_another_version_is_not_published(shipped: str) -> None:
    first, second = install(1), install(2)
    publish("mlp", first, instead_of=shipped)
    with pytest.raises(ConflictError, match="compared with"):
        publish("mlp", second, instead_of=shipped)
    assert live("mlp").version == first


def test_the_anchor_is_the_shipped_version_or_the_first_intact_one_that_was_live(shipped: str, monkeypatch) -> None:
    first, second, third = (install(seed) for seed in (1, 2, 3))
    for version in (first, second, third):
        publish("mlp", version)
    install(4)
    assert anchor("mlp").version == shipped
    monkeypatch.setattr(weights_store, "shipped_root", lambda: Path("nowhere"))
    assert anchor("mlp").version == first
    damage(first)
    assert anchor("mlp").version == second

    def check(weights: InstalledWeights) -> None:
        if weights.version == second:
            raise WeightsError("Its companion is damaged.", "")

    assert anchor("mlp", check).version == third
    assert anchor("nothing-of-that-name") is None


def test_what_stands_in_a_damaged_pointer_can_be_replaced_and_nothing_else(shipped: str, store: Path) -> None:
    assert standing("nothing-of-that-name") == ""
    first, second = install(1), install(2)
    publish("mlp", first)
    damage(first)
    assert standing("mlp") == first
    pointer = store / "weights" / "mlp" / "live"
    pointer.write_text("nonsense")
    said = standing("mlp")
    assert "damaged" in said
    with pytest.raises(ConflictError, match="went live"):
        publish("mlp", second, instead_of=first)
    assert publish("mlp", second, instead_of=said).version == live("mlp").version == second


def test_a_damaged_history_costs_ways_back_and_is_found(store: Path) -> None:
    first, second = install(1), install(2)
    publish("mlp", first)
    path = store / "weights" / "mlp" / "history.jsonl"
    path.write_text(path.read_text() + "{broken")
    assert [finding.problem for finding in verify_installed()] == [Problem.HISTORY]
    publish("mlp", second)
    assert way_back("mlp") == [None, first, second]


def test_what_killed_processes_left_goes_with_the_next_version_and_publication(store: Path) -> None:
    folder = store / "weights" / "mlp"
    first = install(1)
    left, young, half = folder / ".incoming-old", folder / ".incoming-new", folder / f".{'0' * 32}.jsonl"
    for path in (left, young):
        path.mkdir()
        (path / "model.safetensors").write_bytes(b"half")
    half.write_bytes(b"half")
    os.utime(left, (0, 0))
    second = install(2)
    assert not left.exists()
    assert young.exists(), "another process may still write it"
    publish("mlp", second)
    assert not half.exists()
    assert list_versions("mlp") == [first, second]


def _publish_often(home: str, seed: int, count: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COVID_BERT_HOME", home)
        versions = list_versions("mlp")
        for number in range(count):
            publish("mlp", versions[(seed + number) % len(versions)], by=str(seed))


def test_two_publishers_at_once_leave_one_history(store: Path) -> None:
    for seed in range(3):
        install(seed)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_publish_often, args=(str(store), seed, 15)) for seed in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    lines = history("mlp")
    assert [sum(line.by == str(seed) for line in lines) for seed in range(2)] == [15, 15]
    assert live("mlp").version == lines[-1].version


def test_further_files_belong_to_a_version_and_are_checked() -> None:
    state = untrained("embedding-mlp", 0)[0].state_dict()
    weights = add_version("mlp", state, MLP, {"training.json": "{}", "curve.png": b"\x89PNG"})
    assert weights.read_file("training.json") == b"{}"
    assert weights.read_file("curve.csv") is None
    assert verify_installed() == []
    manifest = json.loads((weights.path.parent / "manifest.json").read_text())
    assert set(manifest["files"]) == {"training.json", "curve.png"}
    (weights.path.parent / "curve.png").write_bytes(b"\x89PNGs")
    (weights.path.parent / "training.json").unlink()
    assert [finding.problem for finding in verify_installed()] == [Problem.FILE, Problem.FILE]
    for name in ("training.json", "curve.png"):
        with pytest.raises(WeightsError):
            weights.read_file(name)
    assert weights.verified() == weights, "the network itself can be used"


@pytest.mark.parametrize("name", ["../evil", "manifest.json", "model.safetensors", "", ".hidden", "a/b"])
def test_further_files_cannot_leave_the_version(name: str) -> None:
    with pytest.raises(ParameterError):
        add_version("mlp", {"a": torch.zeros(1)}, MLP, {name: b""})
    assert list_versions("mlp") == []


def test_a_full_disk_leaves_neither_version_nor_history(monkeypatch, store: Path) -> None:
    first, second = install(1), install(2)
    publish("mlp", first)
    original = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.parent.name == "mlp" or "training" in path.name or path.suffix == ".json":
            raise OSError(28, "No space left on device")
        return original(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(WeightsError, match="No space") as caught:
            publish("mlp", second)
        assert "disk is full" in caught.value.hint
        with pytest.raises(WeightsError, match="No space") as caught:
            install(3)
        assert (caught.value.code, caught.value.http_status) == ("cannot-write", 507)
    assert live("mlp").version == first
    assert way_back("mlp") == [None, first]
    assert list_versions("mlp") == [first, second]
    assert verify_installed() == []
