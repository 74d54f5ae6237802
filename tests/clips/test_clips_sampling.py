"""Slice choices against the authors' samplers and their own promises."""

from __future__ import annotations

import json

import numpy as np
import pytest

from covid_bert.clips import sampling


@pytest.fixture(scope="module")
def reference(repository):
    return json.loads((repository / "tests" / "data" / "slice_sampling.json").read_text())


def test_published_choices_equal_the_authors(reference) -> None:
    for slices, expected in reference["centre_out"].items():
        assert sampling.centre_out(int(slices)).tolist() == expected, slices
    for name in ("strided_sets", "windows"):
        for slices, expected in reference[name].items():
            assert [clip.tolist() for clip in sampling.SLICE_CHOICES[name](int(slices), 32)] == expected, (name, slices)
    for windows, expected in reference["segment_pick_16"].items():
        assert sampling.segment_pick(int(windows)).tolist() == expected, windows


def test_few_slices_are_repeated_in_the_published_places() -> None:
    # The walk for the repeated slices has a step of its own: 30 slices repeat 14 and 29, 10 repeat 4 and 9 once more.
    counts = np.bincount(sampling.centre_out(30))
    assert np.flatnonzero(counts == 2).tolist() == [14, 29]
    counts = np.bincount(sampling.centre_out(10))
    assert np.flatnonzero(counts == 4).tolist() == [4, 9]


@pytest.mark.parametrize("name", sampling.SLICE_CHOICES)
def test_every_choice_stays_in_range_for_any_study(name: str) -> None:
    for slices in range(1, 1250):
        for clip in sampling.SLICE_CHOICES[name](slices, 32):
            assert len(clip) == 32
            assert clip[0] >= 0
            assert clip[-1] < slices
            assert (np.diff(clip) >= 0).all()


def test_windows_cover_every_slice() -> None:
    for slices in range(1, 400):
        assert len(np.unique(np.concatenate(sampling.windows(slices)))) == slices


def test_corrected_clips_cover_the_whole_range_with_one_spacing() -> None:
    for slices in range(32, 700):
        clips = sampling.phase_sets(slices)
        assert len(clips) == slices // 32
        seen = np.concatenate(clips)
        assert seen.min() < slices / 32
        assert seen.max() >= slices - slices / 32
        assert len(np.unique(seen)) == len(seen)
        for clip in clips:
            steps = np.diff(clip)
            assert steps.max() - steps.min() <= 1
    # The published choice sees only the middle half of 63 slices.
    assert np.ptp(sampling.centre_out(63)) == 31
    assert np.ptp(sampling.whole_range(63)) >= 60


def test_segment_bins_part_the_windows() -> None:
    for windows in range(1, 60):
        bins = sampling.segment_bins(windows, 16)
        assert len(bins) == min(windows, 16)
        assert np.concatenate(bins).tolist() == list(range(windows))


@pytest.mark.parametrize("choose", [sampling.random_drop_or_repeat, sampling.random_phase])
def test_training_choices_are_seeded_ordered_and_vary(choose) -> None:
    for slices in (5, 32, 40, 100, 300):
        first = choose(slices, 32, np.random.default_rng(1))
        assert first.tolist() == choose(slices, 32, np.random.default_rng(1)).tolist()
        assert len(first) == 32
        assert (np.diff(first) >= 0).all()
        assert set(first.tolist()) <= set(range(slices))
    many = {tuple(choose(300, 32, np.random.default_rng(seed))) for seed in range(40)}
    assert len(many) > 5
    if choose is sampling.random_drop_or_repeat:
        assert set(choose(20, 32, np.random.default_rng(0)).tolist()) == set(range(20))
    else:
        allowed = {tuple(sampling.centre_out(300, 32, phase)) for phase in range(-8, 1)}
        assert many <= allowed


def test_nothing_to_choose_from_is_an_error() -> None:
    for name in sampling.SLICE_CHOICES:
        with pytest.raises(ValueError, match="at least 1"):
            sampling.SLICE_CHOICES[name](0, 32)
