"""Reference studies: made once, from fixed seeds, resumed, and able to stop what learned from wrong labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from labelled_site import SidesSwapped

from covid_bert.errors import CancelledError
from covid_bert.lungs import unet
from covid_bert.networks.segmenter import SliceSegmenter
from covid_bert.retraining import reference
from covid_bert.retraining.comparing import compare_versions
from covid_bert.retraining.judging import candidate_segmenter, found_lungs, mean_dice
from covid_bert.retraining.lung_judging import judge_lungs
from covid_bert.retraining.models import MODELS
from covid_bert.retraining.progress import RunProgress
from covid_bert.retraining.reference import ReferenceSize, classifier_references, lung_references
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


def window() -> tuple[float, float]:
    return live(unet.WEIGHTS_NAME).manifest.input.window_hu


def files() -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (home() / "retraining").rglob("*.npz")}


def test_lungs_are_judged_and_swapped_sides_are_stopped(monkeypatch) -> None:
    monkeypatch.setattr(reference, "FULL", SMALL)
    live_one = candidate_segmenter(shipped_network(), window())
    swapped = candidate_segmenter(SidesSwapped(shipped_network()), window())
    lung_references()
    kept = files()
    judgement, judged = judge_lungs(swapped, {"v003": live_one, "v001": swapped}, (), RunProgress())
    assert files() == kept, "they are made once"
    assert not judged
    poisoned, same = judgement.comparisons
    assert [item.against for item in judgement.comparisons] == ["v003", "v001"]
    assert not poisoned.passed
    assert poisoned.other > 0.95
    assert poisoned.candidate < 0.1
    assert same.passed
    assert same.difference == 0
    assert (judgement.counts, judgement.agreement, judgement.live) == ((0,), None, ())


def test_a_network_that_finds_no_lungs_has_no_dice() -> None:
    (one, _) = lung_references(size=SMALL)
    nothing = SliceSegmenter(5, 3, (4, 4, 4, 4, 4, 4))
    with torch.no_grad():
        for value in nothing.parameters():
            value.zero_()
    assert mean_dice(found_lungs(candidate_segmenter(nothing, window()), one.volume), one.lungs) == 0.0


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


def test_classifiers_are_judged_on_planted_studies(monkeypatch) -> None:
    monkeypatch.setattr(reference, "FULL", SMALL)
    studies = classifier_references()
    assert [study.label == COVID for study in studies] == [True, False]
    assert len({study.source for study in studies}) == 1
    kept = files()
    for model in list(MODELS.values())[1:]:
        version = live(model.head)
        judgement = compare_versions(model, version, version, (), RunProgress(), device="cpu")
        assert [item.difference for item in judgement.comparisons] == [0, 0]
        assert {item.against for item in judgement.comparisons} == {version.version}
        assert {item.patients for item in judgement.comparisons} == {1}, "one phantom, with the finding and without"
    assert files() == kept
