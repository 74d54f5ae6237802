"""The loop of retraining: kills, stops, faults, early ends, accumulation."""

from __future__ import annotations

import errno
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_learner import PLAN, SmallLearner

from covid_bert import files
from covid_bert.errors import CancelledError, OutputError, TrainingDivergedError
from covid_bert.retraining import checkpoint as checkpoints
from covid_bert.retraining.fitting import FitPlan, Fitted, fit

HERE = Path(__file__).parent


def fitted(path: Path, plan: FitPlan = PLAN, learner: SmallLearner | None = None, told=None, **keywords) -> Fitted:
    stop = keywords.pop("stop", lambda: False)
    return fit(learner or SmallLearner(), plan, path, told or (lambda _progress: None), stop, **keywords)


def assert_equal(first: Fitted, second: Fitted) -> None:
    assert first.state.keys() == second.state.keys()
    for name, value in first.state.items():
        assert torch.equal(value, second.state[name]), name
    assert first.best_epoch == second.best_epoch
    assert [point.model_dump(exclude={"seconds"}) for point in first.curve] == [
        point.model_dump(exclude={"seconds"}) for point in second.curve
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.checkpoint"


def test_it_learns_and_leaves_the_generators_alone(path) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    lines = []
    learner = SmallLearner()
    found = fitted(path, learner=learner, told=lambda progress: lines.append(progress.line))
    assert torch.equal(torch.get_rng_state(), before)
    assert found.curve[-1].loss < 0.5 * found.curve[0].loss
    assert found.curve[found.best_epoch - 1].validation["score"] == max(p.validation["score"] for p in found.curve)
    assert torch.equal(learner.module.state_dict()["0.weight"], found.state["0.weight"])
    assert not learner.module.training
    # The lines that clients of MONAI Label read.
    assert f"Epoch[{PLAN.epochs}] Metrics -- score: {found.curve[-1].validation['score']:.4f}" in lines


def test_the_seed_decides(path, tmp_path) -> None:
    first = fitted(path)
    assert_equal(first, fitted(tmp_path / "again.checkpoint"))
    other = fitted(tmp_path / "other.checkpoint", replace(PLAN, seed=1))
    assert not torch.equal(first.state["0.weight"], other.state["0.weight"])


def test_batch_norms_keep_their_statistics(path) -> None:
    found = fitted(path)
    assert torch.equal(found.state["1.running_mean"], SmallLearner().module.state_dict()["1.running_mean"])


def test_accumulation_is_the_larger_batch(path, tmp_path) -> None:
    plan = replace(PLAN, epochs=2)
    whole = fitted(path, plan, SmallLearner(batch=8, dropout=0.0))
    parts = fitted(tmp_path / "parts.checkpoint", replace(plan, accumulation=4), SmallLearner(batch=2, dropout=0.0))
    for name, value in whole.state.items():
        assert torch.allclose(value, parts.state[name], atol=1e-6), name
    assert whole.curve[0].loss == pytest.approx(parts.curve[0].loss, rel=1e-5)


def test_it_ends_when_validation_does_not_gain(path) -> None:
    scores = [0.1, 0.5, 0.4, 0.45, 0.5, 0.6]
    learner = SmallLearner(scores=scores)
    found = fitted(path, replace(PLAN, epochs=6, patience=3), learner)
    assert found.stopped_early
    assert found.best_epoch == 2
    assert len(found.curve) == 5
    # Taken up again, it is over: nothing more is computed.
    again = fitted(path, replace(PLAN, epochs=6, patience=3), SmallLearner(scores=[]))
    assert_equal(found, again)


@pytest.mark.parametrize("scores", [[math.nan] * 4, [None] * 4], ids=["not a number", "nothing"])
def test_without_a_measure_the_last_epoch_counts(path, scores) -> None:
    lines: list[str] = []
    found = fitted(path, learner=SmallLearner(scores=scores), told=lambda progress: lines.append(progress.line))
    assert found.best_epoch == PLAN.epochs
    assert all(not point.validation for point in found.curve)
    assert f"Epoch {PLAN.epochs} of {PLAN.epochs} is over; no study is held out to measure on." in lines


def test_a_stop_is_clean_and_goes_on_to_the_same_end(path, tmp_path) -> None:
    asked: Iterator[bool] = iter([False] * 17 + [True])
    with pytest.raises(CancelledError):
        fitted(path, stop=lambda: next(asked))
    state, note = checkpoints.read_checkpoint(path, "x")
    assert state is None
    assert "other data" in note
    assert_equal(fitted(path), fitted(tmp_path / "whole.checkpoint"))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_it_and_keeps_the_last_good_checkpoint(path, bad) -> None:
    with pytest.raises(TrainingDivergedError) as caught:
        fitted(path, learner=SmallLearner(bad={(3, 4): bad}))
    assert caught.value.code == "diverged"
    content = path.read_bytes()
    assert content
    # The same fault again, from the checkpoint of the second epoch on: nothing was lost and nothing is worse.
    learner = SmallLearner(bad={(3, 4): bad})
    with pytest.raises(TrainingDivergedError):
        fitted(path, learner=learner)
    assert learner.epochs_begun == [3]
    assert path.read_bytes() == content


def test_a_full_disk_keeps_the_last_checkpoint(path, monkeypatch, tmp_path) -> None:
    written = files.sync
    count = 0

    def full(place: Path) -> None:
        nonlocal count
        count += place.suffix == checkpoints.SUFFIX
        if count > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written(place)

    monkeypatch.setattr(files, "sync", full)
    with pytest.raises(OutputError, match="No space left"):
        fitted(path)
    monkeypatch.undo()
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    learner = SmallLearner()
    again = fitted(path, learner=learner)
    assert learner.epochs_begun == [2, 3, 4]
    assert_equal(again, fitted(tmp_path / "whole.checkpoint"))


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
def test_a_damaged_checkpoint_begins_anew_and_says_so(path, tmp_path, damage) -> None:
    whole = fitted(path)
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    path.write_bytes({"cut": content[:-100], "flipped": content, "empty": b"", "other": os.urandom(5000)}[damage])
    again = fitted(path)
    assert "damaged" in again.notes[0]
    assert_equal(whole, again)


def test_a_checkpoint_of_other_data_or_plan_is_not_taken_up(path) -> None:
    fitted(path, identity="one")
    learner = SmallLearner()
    assert "other data" in fitted(path, learner=learner, identity="two").notes[0]
    assert learner.epochs_begun == [1, 2, 3, 4]
    assert fitted(path, replace(PLAN, learning_rate=1e-4), identity="two").notes


def test_what_a_killed_writer_left_is_removed(path, tmp_path) -> None:
    left = tmp_path / f".{'0' * 32}{checkpoints.SUFFIX}"
    left.write_bytes(b"half")
    fitted(path)
    assert not left.exists()


def test_too_few_batches_are_a_fault_of_the_learner(path) -> None:
    class Short(SmallLearner):
        def batches(self, epoch, rank, world):
            return list(zip(range(2), super().batches(epoch, rank, world), strict=False))[:0]

    with pytest.raises(ValueError, match="fewer"):
        fitted(path, learner=Short())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no kill -9")
def test_killed_at_random_moments_it_ends_with_the_same_bits(tmp_path) -> None:
    """`kill -9` while it computes, writes, or starts; whatever the moments are, the end is the same."""
    whole, result = tmp_path / "whole.pt", tmp_path / "killed.pt"
    for kills, name in ((0, whole), (8, result)):
        words = [sys.executable, str(HERE / "killing.py"), str(name.with_suffix(".checkpoint")), str(name), str(kills)]
        program = subprocess.run(words, timeout=900, capture_output=True, text=True)
        assert program.returncode == 0, program.stderr
    assert int(program.stdout) > 0
    first, second = (torch.load(file, weights_only=True) for file in (whole, result))
    assert first["curve"] == second["curve"]
    assert first["best_epoch"] == second["best_epoch"]
    for name, value in first["state"].items():
        assert torch.equal(value, second["state"][name]), name
