"""The store: versions that are whole or absent, a pointer that moves, checks before every use."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from covid_bert.errors import ParameterError, WeightsError
from covid_bert.networks.architectures import ARCHITECTURES
from covid_bert.weights import files, installing, store
from covid_bert.weights.history import history
from covid_bert.weights.installing import add_version
from covid_bert.weights.location import home
from covid_bert.weights.manifest import Provenance
from covid_bert.weights.registry import Role
from covid_bert.weights.store import installed, list_versions, live, load_into, publish
from covid_bert.weights.untrained import untrained
from covid_bert.weights.verify import Problem, verify_installed

MLP = Provenance(architecture="embedding-mlp", role=Role.MLP, trained_on="phantoms", demonstration=True)


def mlp(seed: int = 0) -> torch.nn.Module:
    return untrained("embedding-mlp", seed)[0]


def install(seed: int = 0, name: str = "mlp") -> store.InstalledWeights:
    return add_version(name, mlp(seed).state_dict(), MLP)


def flip_byte(path: Path, position: int = -5) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(content)


def test_versions_are_numbered_and_a_pointer_makes_one_live():
    first, second = install(0), install(1)
    assert [first.version, second.version] == list_versions("mlp") == ["v001", "v002"]
    assert live("mlp") is None
    publish("mlp", "v002")
    assert live("mlp") == second
    publish("mlp", "v001")
    assert live("mlp") == first


def test_versions_sort_by_number_beyond_999(store: Path):
    install()
    (store / "weights" / "mlp" / "v001").rename(store / "weights" / "mlp" / "v999")
    assert install().version == "v1000"
    assert list_versions("mlp") == ["v999", "v1000"]


def test_loaded_weights_are_the_installed_ones_and_say_so():
    weights = install(7)
    publish("mlp", weights.version)
    module = mlp(0)
    identity = load_into(module, "mlp")
    assert all(torch.equal(value, module.state_dict()[key]) for key, value in mlp(7).state_dict().items())
    assert (identity.name, identity.version, identity.sha256) == ("mlp", "v001", weights.sha256)
    assert identity.trained
    assert identity.demonstration
    assert identity.trained_on == "phantoms"
    assert load_into(mlp(), weights.path) == load_into(mlp(), weights.path.parent) == identity
    assert load_into(mlp(), "mlp", "v001", architecture="embedding-mlp") == identity


def test_the_manifest_is_plain_json_with_all_that_is_needed():
    manifest = json.loads((install().path.parent / "manifest.json").read_text())
    assert manifest["architecture"] == "embedding-mlp"
    assert manifest["role"] == "mlp"
    assert manifest["bytes"] == install().path.stat().st_size
    assert manifest["created"].endswith("+00:00")


def test_nothing_installed_and_nothing_live_are_told_apart():
    with pytest.raises(WeightsError, match="No version of s2-clip-network is installed") as caught:
        load_into(mlp(), "s2-clip-network")
    assert "weights import FILE --name s2-clip-network" in caught.value.hint
    with pytest.raises(WeightsError) as caught:
        load_into(mlp(), "lungmask-r231")
    assert "weights fetch lungmask-r231" in caught.value.hint
    install()
    with pytest.raises(WeightsError, match="No version of mlp is live") as caught:
        load_into(mlp(), "mlp")
    assert "weights publish mlp v001" in caught.value.hint


def test_a_changed_file_is_never_used():
    weights = install()
    publish("mlp", "v001")
    load_into(mlp(), "mlp")
    flip_byte(weights.path)
    module = mlp(3)
    with pytest.raises(WeightsError, match="damaged") as caught:
        load_into(module, "mlp")
    assert "go back with `covid-bert weights publish mlp VERSION`" in caught.value.hint
    assert all(torch.equal(value, module.state_dict()[key]) for key, value in mlp(3).state_dict().items())
    with pytest.raises(WeightsError, match="damaged"):
        publish("mlp", "v001")


def test_weights_of_another_network_are_refused_with_the_first_mismatches():
    publish("mlp", install().version)
    with pytest.raises(WeightsError, match=r"layers\.0\.weight has shape \[128, 1024\] instead of \[256, 1024\]"):
        load_into(ARCHITECTURES["embedding-mlp-256"](), "mlp")
    with pytest.raises(WeightsError, match="is missing"):
        load_into(torch.nn.Linear(2, 2), "mlp")
    with pytest.raises(WeightsError, match="is of network embedding-mlp, not study-bert"):
        load_into(mlp(), "mlp", architecture="study-bert")


def test_the_checksum_is_computed_once_for_an_unchanged_file(monkeypatch):
    publish("mlp", install().version)
    computed: list[Path] = []
    original = files.sha256_of
    monkeypatch.setattr(files, "sha256_of", lambda path: computed.append(path) or original(path))
    for _ in range(3):
        load_into(mlp(), "mlp")
    assert computed == []


@pytest.mark.parametrize("step", ["_save", "sync", "sha256_of", "write_atomically"])
def test_an_interrupted_installation_leaves_nothing(step, monkeypatch, left_behind):
    class PowerFailureError(Exception):
        pass

    def fail(*_: object, **__: object) -> None:
        raise PowerFailureError

    monkeypatch.setattr(installing, step, fail)
    with pytest.raises(PowerFailureError):
        install()
    assert [name for name in left_behind() if name != "weights"] == []
    monkeypatch.undo()


def test_an_interrupted_publication_leaves_the_old_pointer(monkeypatch, store: Path):
    install(0)
    install(1)
    publish("mlp", "v001")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(WeightsError, match="disk is full"):
            publish("mlp", "v002")
    assert live("mlp").version == "v001"
    left = {item.name for item in (store / "weights" / "mlp").iterdir() if item.suffix != ".lock"}
    assert left == {"live", "history.jsonl", "v001", "v002"}
    assert [line.version for line in history("mlp")] == ["v001"], "what did not happen is not recorded"


def test_installations_at_the_same_time_get_different_versions():
    threads = [threading.Thread(target=install, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list_versions("mlp") == [f"v{number:03d}" for number in range(1, 7)]
    assert len({installed("mlp", version).verified().sha256 for version in list_versions("mlp")}) == 6


def test_networks_built_at_the_same_time_are_those_of_their_seeds():
    alone = {seed: untrained("embedding-mlp", seed)[1].sha256 for seed in range(4)}
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda number: untrained("embedding-mlp", number % 4)[1].sha256, range(200)))
    assert together == [alone[number % 4] for number in range(200)]


@pytest.mark.parametrize("name", ["../evil", "", "A", ".hidden", "a/b", "a" * 65, "a\n"])
def test_names_cannot_leave_the_store(name, left_behind):
    with pytest.raises(ParameterError):
        add_version(name, mlp().state_dict(), MLP)
    with pytest.raises(ParameterError):
        live(name)
    assert left_behind() == []


@pytest.mark.parametrize("version", ["../v001", "v1", "", "v001/", "live"])
def test_versions_cannot_leave_the_store(version):
    install()
    with pytest.raises(WeightsError, match="not installed"):
        installed("mlp", version)


def test_verify_finds_nothing_wrong_with_sound_weights():
    publish("mlp", install().version)
    assert verify_installed() == []


def test_verify_finds_every_kind_of_damage(store: Path):
    folder = store / "weights"
    flip_byte(install(name="flipped").path)
    install(name="gone").path.unlink()
    (install(name="manifest").path.parent / "manifest.json").write_text("{")
    install(name="pointer")
    (folder / "pointer" / "live").write_text("v009\n")
    install(name="leftover")
    (folder / "leftover" / ".incoming-abc").mkdir()
    add_version("unknown", mlp().state_dict(), MLP.model_copy(update={"architecture": "of-tomorrow"}))
    add_version("other", mlp().state_dict(), MLP.model_copy(update={"architecture": "study-bert"}))
    found = {(item.name, item.version): item.problem for item in verify_installed()}
    assert found == {
        ("flipped", "v001"): Problem.CHECKSUM,
        ("gone", "v001"): Problem.MISSING,
        ("manifest", "v001"): Problem.MANIFEST,
        ("pointer", ""): Problem.POINTER,
        ("leftover", ""): Problem.LEFTOVER,
        ("unknown", "v001"): Problem.UNKNOWN_NETWORK,
        ("other", "v001"): Problem.TENSORS,
    }


def test_untrained_networks_are_traceable_and_marked():
    generator = torch.random.get_rng_state()
    first, identity = untrained("embedding-mlp", 3)
    assert torch.equal(torch.random.get_rng_state(), generator)
    assert not identity.trained
    assert not first.training
    assert untrained("embedding-mlp", 3)[1] == identity
    assert untrained("embedding-mlp", 4)[1].sha256 != identity.sha256
    with pytest.raises(ParameterError):
        untrained("no-such-network", 0)


def test_the_data_folder_follows_the_environment(monkeypatch, tmp_path: Path):
    assert home() == tmp_path / "home"
    monkeypatch.delenv("COVID_BERT_HOME")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert home() == tmp_path / "covid-bert"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert home() == Path.home() / ".local" / "share" / "covid-bert"


def test_listing_weights_does_not_import_torch():
    code = "import sys, covid_bert.weights as w; w.entries(); w.live('mlp'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
