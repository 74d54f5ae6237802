"""Files from outside: the layouts that people use, and everything that is damaged, hostile or no weights."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from covid_bert.errors import CovidBertError, NotFoundError, WeightsError
from covid_bert.networks.published_keys import to_published
from covid_bert.weights.checkpoint_file import read_checkpoint
from covid_bert.weights.importing import import_checkpoint


@pytest.mark.parametrize("nesting", [(), ("model",), ("net",), ("model_state_dict",), ("model", "state_dict")])
def test_common_nestings_are_unwrapped(nesting, tmp_path: Path):
    content: object = {"module.module.a.weight": torch.ones(2)}
    for key in reversed(nesting):
        content = {key: content, "epoch": 3}
    path = tmp_path / "nested.pt"
    torch.save(content, path)
    assert list(read_checkpoint(path).tensors) == ["a.weight"]


class RunsACommand:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_runs_a_program_is_refused_unrun(zipped, tmp_path: Path, left_behind):
    marker = tmp_path / "ran"
    path = tmp_path / "evil.pth"
    torch.save(
        {"state_dict": {"a": torch.ones(1)}, "extra": RunsACommand(f"touch {marker}")},
        path,
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(WeightsError, match="could run any program") as caught:
        import_checkpoint(path)
    assert caught.value.details["refused"].endswith("system")
    assert not marker.exists()
    assert left_behind() == []
    torch.load(path, weights_only=False)
    assert marker.exists(), "the attack itself must work, else this test shows nothing"


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_truncated_files_are_told(kind, share, study_state, tmp_path: Path, left_behind):
    path = tmp_path / "cut"
    published = to_published("study-bert", study_state)
    if kind == "safetensors":
        save_file(published, path)
    else:
        torch.save(published, path, _use_new_zipfile_serialization=kind == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(WeightsError, match=r"damaged|no state dict|not a checkpoint"):
        import_checkpoint(path)
    assert left_behind() == []


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_files_give_only_our_errors(tmp_path: Path):
    path = tmp_path / "fuzzed.pth"
    rng = random.Random(0)
    outcomes = set()
    for zipped in (True, False):
        torch.save({"state_dict": {"a": torch.ones(8)}}, path, _use_new_zipfile_serialization=zipped)
        sound = path.read_bytes()
        for _ in range(150):
            content = bytearray(sound)
            for _ in range(rng.choice([1, 4, 30])):
                content[rng.randrange(len(content))] = rng.randrange(256)
            path.write_bytes(content)
            try:
                read_checkpoint(path)
                outcomes.add("read")
            except CovidBertError:
                outcomes.add("refused")
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a checkpoint"),
        (b"\n<!DOCTYPE html><html>Sign in</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"PK\x03\x04 no archive", "damaged"),
        (b"just text", "damaged"),
    ],
)
def test_files_that_are_no_weights_are_told_apart(content, message, tmp_path: Path, left_behind):
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        import_checkpoint(path)
    assert caught.value.hint
    assert str(tmp_path) not in str(caught.value)
    assert left_behind() == []


def test_a_missing_file_and_a_folder_are_not_found(tmp_path: Path):
    for path in (tmp_path / "nothing.pth", tmp_path):
        with pytest.raises(NotFoundError):
            import_checkpoint(path)


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {}, {"state_dict": {"a": "b"}}, {1: torch.ones(1)}])
def test_pickles_without_a_state_dict_are_refused(content, tmp_path: Path):
    path = tmp_path / "odd.pth"
    torch.save(content, path)
    with pytest.raises(WeightsError, match="no state dict"):
        import_checkpoint(path)
