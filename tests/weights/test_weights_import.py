"""Import of checkpoints as their authors write them, and of everything that only looks like one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from covid_bert.errors import CancelledError, ParameterError, WeightsError
from covid_bert.networks.architectures import ARCHITECTURES
from covid_bert.networks.published_keys import to_published
from covid_bert.progress import Progress
from covid_bert.weights.importing import import_checkpoint
from covid_bert.weights.layouts import LUNGMASK_R231, expected_shapes
from covid_bert.weights.registry import Role
from covid_bert.weights.store import live, load_into, publish
from covid_bert.weights.untrained import untrained
from needed import require_module


def assert_same(state: dict[str, torch.Tensor], module: torch.nn.Module) -> None:
    loaded = module.state_dict()
    assert list(loaded) == list(state)
    assert all(torch.equal(value, loaded[key]) for key, value in state.items())


def test_the_authors_study_network_is_recognised_converted_and_live(authors_checkpoint, study_state):
    stages: list[str] = []
    weights = import_checkpoint(authors_checkpoint, progress=Progress(lambda stage, _: stages.append(stage)))
    assert (weights.name, weights.version) == ("s1-study-network", "v001")
    manifest = weights.manifest
    assert (manifest.architecture, manifest.role) == ("study-bert", Role.STUDY_NETWORK)
    assert manifest.source_file.name == "model_best.pth.tar"
    assert manifest.source_file.sha256 == hashlib.sha256(authors_checkpoint.read_bytes()).hexdigest()
    assert manifest.source_file.registry_match == "none"
    assert live("s1-study-network") == weights
    module = ARCHITECTURES["study-bert"]()
    identity = load_into(module, "s1-study-network", architecture="study-bert")
    assert_same(study_state, module)
    assert "COV19-CT-DB 2022" in identity.trained_on
    assert "no published checksum confirms the file" in identity.trained_on
    assert manifest.metrics == ()
    assert list(dict.fromkeys(stages)) == ["read", "checksum", "install"]


def test_the_clip_network_needs_a_name_because_two_systems_have_it(tmp_path: Path):
    # One value for each tensor keeps the file small; the shapes are the published ones.
    shapes = expected_shapes("r2plus1d34-bert")
    state = {
        key: torch.tensor(float(index)).expand(shape) if "num_batches" not in key else torch.tensor(index)
        for index, (key, shape) in enumerate(shapes.items())
    }
    path = tmp_path / "clip.pth"
    torch.save({"state_dict": to_published("r2plus1d34-bert", state)}, path)
    with pytest.raises(ParameterError, match="--name") as caught:
        import_checkpoint(path)
    assert caught.value.details["candidates"] == ["s2-clip-network", "s1-clip-network"]
    weights = import_checkpoint(path, name="s2-clip-network")
    assert weights.manifest.architecture == "r2plus1d34-bert"
    with torch.device("meta"):
        module = ARCHITECTURES["r2plus1d34-bert"]()
    load_into(module.to_empty(device="cpu"), weights.path)
    assert_same(state, module)


@pytest.mark.parametrize("architecture", ["r2plus1d18"])
def test_a_trunk_with_its_classifier_for_videos_becomes_a_trunk(architecture, tmp_path: Path):
    state = untrained(architecture, 1)[0].state_dict()
    published = to_published(architecture, state) | {"fc.weight": torch.zeros(400, 512), "fc.bias": torch.zeros(400)}
    path = tmp_path / "trunk.pth"
    torch.save(published, path, _use_new_zipfile_serialization=False)
    weights = import_checkpoint(path)
    assert (weights.name, weights.manifest.role) == (architecture, Role.TRUNK)
    assert weights.manifest.trained_on == "not stated"
    module = ARCHITECTURES[architecture]()
    load_into(module, weights.path)
    assert_same(state, module)


def test_lungmasks_checkpoint_is_stored_as_it_is(tmp_path: Path):
    resunet = require_module("lungmask.resunet", "pip install 'covid-bert[lungmask]'")
    module = resunet.UNet(n_classes=3, padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False)
    state = module.state_dict()
    assert expected_shapes(LUNGMASK_R231) == {key: tuple(value.shape) for key, value in state.items()}
    path = tmp_path / "r231.pth"
    torch.save(state, path)
    with pytest.raises(WeightsError, match="is not the published file of lungmask-r231"):
        import_checkpoint(path, name="lungmask-r231")
    weights = import_checkpoint(path, name="own-lungmask")
    assert weights.manifest.role is Role.LUNGS
    load_into(module, "own-lungmask", architecture=LUNGMASK_R231)
    lobes = dict(state, **{"last.weight": torch.zeros(6, 64, 1, 1), "last.bias": torch.zeros(6)})
    torch.save(lobes, path)
    with pytest.raises(WeightsError, match=r"last\.weight has shape \[6, 64, 1, 1\]"):
        import_checkpoint(path, name="own-lungmask")


def test_a_safetensors_file_with_published_keys_is_imported(study_state, tmp_path: Path):
    path = tmp_path / "study.safetensors"
    save_file(to_published("study-bert", study_state), path)
    assert import_checkpoint(path).manifest.architecture == "study-bert"


def test_weights_of_another_installation_keep_their_provenance(authors_checkpoint, tmp_path: Path, monkeypatch):
    original = import_checkpoint(authors_checkpoint, name="our-study-network")
    monkeypatch.setenv("COVID_BERT_HOME", str(tmp_path / "second"))
    copy = import_checkpoint(original.path)
    assert (copy.name, copy.sha256) == ("our-study-network", original.sha256)
    assert copy.manifest.source_file == original.manifest.source_file
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes(original.path.read_bytes())
    assert import_checkpoint(alone, name="alone").manifest.trained_on == "not stated"


def test_the_same_file_is_not_installed_twice_and_a_second_one_waits_for_publication(authors_checkpoint, tmp_path):
    first = import_checkpoint(authors_checkpoint)
    assert import_checkpoint(authors_checkpoint) == first
    other = tmp_path / "other.pth"
    torch.save(to_published("study-bert", untrained("study-bert", 6)[0].state_dict()), other)
    assert import_checkpoint(other).version == "v002"
    assert live("s1-study-network") == first
    publish("s1-study-network", "v002")
    assert live("s1-study-network").version == "v002"


def test_importing_again_repairs_damaged_weights(authors_checkpoint):
    damaged = import_checkpoint(authors_checkpoint)
    damaged.path.write_bytes(damaged.path.read_bytes()[:-1])
    repaired = import_checkpoint(authors_checkpoint)
    assert repaired.version == "v002"
    assert live("s1-study-network") == repaired


def test_an_unknown_network_is_refused(tmp_path: Path, left_behind):
    path = tmp_path / "resnet.pth"
    torch.save({"conv1.weight": torch.ones(64, 3, 7, 7)}, path)
    with pytest.raises(WeightsError, match="not of a network that is known"):
        import_checkpoint(path)
    assert left_behind() == []


def test_another_variant_of_a_known_network_is_refused_by_shape(study_state, tmp_path: Path, left_behind):
    published = to_published("study-bert", study_state)
    published["bert.embedding.learnedPosition.pe"] = torch.zeros(1, 5, 512)
    path = tmp_path / "four_segments.pth"
    torch.save(published, path)
    with pytest.raises(WeightsError, match=r"bert\.positions has shape \[1, 5, 512\] instead of \[1, 17, 512\]"):
        import_checkpoint(path)
    assert left_behind() == []


def test_a_tensor_of_absurd_shape_is_refused_before_it_is_copied(study_state, tmp_path: Path):
    published = to_published("study-bert", study_state)
    published["fc_action.weight"] = torch.zeros(1).expand(1 << 20, 1 << 20)  # 4 TiB, but four bytes in the file
    path = tmp_path / "bomb.pth"
    torch.save(published, path)
    with pytest.raises(WeightsError, match="does not fit"):
        import_checkpoint(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_diverged_are_refused(value, study_state, tmp_path: Path, left_behind):
    published = {key: tensor.clone() for key, tensor in to_published("study-bert", study_state).items()}
    published["fc_action1.bias"][3] = value
    path = tmp_path / "diverged.pth"
    torch.save(published, path)
    with pytest.raises(WeightsError, match=r"linear2\.bias"):
        import_checkpoint(path)
    assert left_behind() == []


def test_a_name_of_another_network_is_refused(authors_checkpoint, left_behind):
    with pytest.raises(WeightsError, match="s2-clip-network is of r2plus1d34-bert"):
        import_checkpoint(authors_checkpoint, name="s2-clip-network")
    with pytest.raises(ParameterError):
        import_checkpoint(authors_checkpoint, name="../escape")
    assert left_behind() == []


def test_a_published_file_name_promises_its_checksum(tmp_path: Path, left_behind):
    path = tmp_path / "r2plus1d_18-91a641e6.pth"
    torch.save(to_published("r2plus1d18", untrained("r2plus1d18", 1)[0].state_dict()), path)
    with pytest.raises(WeightsError, match="begin with 91a641e6"):
        import_checkpoint(path)
    assert left_behind() == []


@pytest.mark.parametrize("stage", ["read", "checksum"])
def test_cancelling_leaves_nothing(stage, authors_checkpoint, left_behind):
    progress = Progress()
    progress.report = lambda reported, _: progress.cancel() if reported == stage else None
    with pytest.raises(CancelledError):
        import_checkpoint(authors_checkpoint, progress=progress)
    assert left_behind() == []


def test_a_cancel_that_comes_too_late_does_not_deny_what_was_written(authors_checkpoint):
    progress = Progress()
    progress.report = lambda stage, _: progress.cancel() if stage == "install" else None
    assert import_checkpoint(authors_checkpoint, progress=progress) == live("s1-study-network")
