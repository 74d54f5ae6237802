"""Reference studies: made once, from fixed seeds, resumed, and able to stop what learned from wrong labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from covid_bert.errors import CancelledError
from covid_bert.lungs import unet
from covid_bert.networks.segmenter import SliceSegmenter
from covid_bert.retraining import reference
from covid_bert.retraining.judging import candidate_segmenter, classifier_scores, live_modules, lung_dice
from covid_bert.retraining.models import MODELS
from covid_bert.retraining.reference import ReferenceSize, classifier_references, compare_lungs, lung_references
from covid_bert.training.material import PHANTOM_SEEDS
from covid_bert.training.studies import COVID
from covid_bert.weights.location import home
from covid_bert.weights.store import live, load_into

SMALL = ReferenceSize(lungs=2, classifiers=1, shape=(48, 96, 104), spacing=(6.0, 3.4, 3.4))


def shipped_network() -> SliceSegmenter:
    from covid_bert.networks.architectures import ARCHITECTURES

    module = ARCHITECTURES[unet.ARCHITECTURE]()
    load_into(module, live(unet.WEIGHTS_NAME))
    return module


class SidesSwapped(torch.nn.Module):
    """Says of each lung that it is the other one, as a network that learned from swapped labels."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, slabs: torch.Tensor) -> torch.Tensor:
        return self.module(slabs)[:, [0, 2, 1]]


def window() -> tuple[float, float]:
    return live(unet.WEIGHTS_NAME).manifest.input.window_hu


def files() -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (home() / "retraining").rglob("*.npz")}


def test_lungs_are_judged_and_swapped_sides_are_stopped() -> None:
    live_one = candidate_segmenter(shipped_network(), window())
    told: list[tuple[str, int, int]] = []
    same = compare_lungs(live_one, live_one, size=SMALL, tell=lambda *what: told.append(what))
    assert same.passed
    assert same.live > 0.95
    assert same.difference == 0
    assert [what for what, _, _ in told] == [
        *["reference studies"] * 2,
        *["reference studies, live version"] * 2,
        *["reference studies, candidate"] * 2,
    ]
    kept = files()
    swapped = candidate_segmenter(SidesSwapped(shipped_network()), window())
    poisoned = compare_lungs(live_one, swapped, size=SMALL)
    assert files() == kept, "they are made once"
    assert not poisoned.passed
    assert poisoned.candidate < 0.1


def test_a_network_that_finds_no_lungs_has_no_dice() -> None:
    (one, _) = lung_references(size=SMALL)
    nothing = SliceSegmenter(5, 3, (4, 4, 4, 4, 4, 4))
    with torch.no_grad():
        for value in nothing.parameters():
            value.zero_()
    assert lung_dice(candidate_segmenter(nothing, window()), one.volume, one.lungs) == 0.0


def test_they_are_of_other_persons_than_the_trainings() -> None:
    assert not set(PHANTOM_SEEDS) & set(range(reference.LUNG_SEED, reference.CLASSIFIER_SEED + 1000))


def test_a_damaged_file_is_made_again_and_a_cancelled_making_goes_on() -> None:
    def stop(_what: str, done: int, _count: int) -> None:
        if done == 1:
            raise CancelledError("Stopped.", "")

    with pytest.raises(CancelledError):
        lung_references(size=SMALL, tell=stop)
    (first,) = files()
    kept = files()[first]
    made = lung_references(size=SMALL)
    assert files()[first] == kept
    first.write_bytes(first.read_bytes()[:1000])
    again = lung_references(size=SMALL)
    for one, other in zip(made, again, strict=True):
        np.testing.assert_array_equal(one.volume.array, other.volume.array)
        np.testing.assert_array_equal(one.lungs, other.lungs)


def test_another_size_takes_the_place_of_the_former() -> None:
    lung_references(size=SMALL)
    lung_references(size=ReferenceSize(1, 1, SMALL.shape, SMALL.spacing))
    assert len(files()) == 1


def test_classifiers_are_judged_on_planted_studies() -> None:
    studies = classifier_references(size=SMALL)
    assert [study.label == COVID for study in studies] == [True, False]
    assert len({study.source for study in studies}) == 1
    kept = files()
    for model in list(MODELS.values())[1:]:
        found = classifier_scores(model, live_modules(model), studies)
        assert len(found) == 2
        assert all(0 <= score <= 1 for score in found)
        same = reference.compare_systems(model, live_modules(model), live_modules(model), size=SMALL)
        assert [item.difference for item in same] == [0, 0]
    assert files() == kept
