"""Lesion statistics on lesions that are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage, stats
from small_sets import chest, lesion_labels, lung_labels

from covid_bert.errors import ParameterError
from covid_bert.evaluation import lesion_statistics
from covid_bert.evaluation.lesion_texture import correlation_length, edge_profile, local_deviation
from covid_bert.evaluation.studies import Condition, ExternalStudy, StudyFacts

SPACING = (5.0, 1.5, 1.5)
SHAPE = (6, 120, 120)


def disc(radius: float) -> np.ndarray:
    y, x = np.ogrid[: SHAPE[1], : SHAPE[2]]
    return np.broadcast_to(np.hypot(y - 60, x - 60) < radius, SHAPE).copy()


@pytest.mark.parametrize("sigma", [2.0, 4.0])
def test_edge_width_is_that_of_the_blur(sigma: float) -> None:
    lesion, lung = disc(25), disc(55)
    values = np.where(lesion, -500.0, -850.0)
    values = ndimage.gaussian_filter(values, (0, sigma / 1.5, sigma / 1.5)).astype(np.float32)
    to_border = np.where(lung, 30.0, 0.0).astype(np.float32)
    found = edge_profile(values, lesion, lung, to_border, SPACING)
    assert found["sigma_mm"] == pytest.approx(sigma, rel=0.15)
    assert found["step_hu"] == pytest.approx(350, rel=0.1)
    assert found["distance_mm"][0] == -6
    assert found["mean_hu"][0] == pytest.approx(-850 + 350 * stats.norm.cdf(-6 / sigma), abs=10)


def test_correlation_length_grows_with_the_grain() -> None:
    noise = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    inside = disc(50)
    lengths = [
        correlation_length(ndimage.gaussian_filter(noise, (0, grain / 1.5, grain / 1.5)) * 100, inside, SPACING)
        for grain in (2.0, 4.0)
    ]
    # The correlation of Gaussian-filtered noise falls to 1/e at twice the deviation of the filter.
    assert lengths == pytest.approx([4.0, 8.0], rel=0.15)
    assert correlation_length(noise, disc(3), SPACING) is None


def test_local_deviation_leaves_slow_changes_out() -> None:
    inside = disc(50)
    slope = np.broadcast_to(np.arange(SHAPE[2], dtype=np.float32) * 2, SHAPE)
    noise = np.random.default_rng(0).normal(0, 40, SHAPE).astype(np.float32)
    assert local_deviation(slope, inside, SPACING) < 10
    assert local_deviation(slope + noise, inside, SPACING) == pytest.approx(40, rel=0.1)


def test_relative_density_is_one_for_an_even_spread_and_finds_a_slope() -> None:
    lung = disc(50)
    rows = np.indices(SHAPE)[1]
    even = lung & (np.random.default_rng(0).random(SHAPE) < 0.3)
    assert lesion_statistics.relative_density(rows, even, lung) == pytest.approx([1.0] * 10, abs=0.1)
    behind = lung & (rows > 85)
    density = lesion_statistics.relative_density(rows, behind, lung)
    assert sum(density) == pytest.approx(10.0, abs=0.02)
    assert density[0] == 0
    assert density[-1] > 4


def test_statistics_of_a_made_up_study(tmp_path) -> None:
    phantom = chest(tmp_path, infected=True, seed=8)
    facts = StudyFacts("made_up", "made up", "patient", Condition.COVID_19)
    study = ExternalStudy(facts, phantom.volume, lungs=phantom.lungs.array, lesions=phantom.lesions)
    found = lesion_statistics.study_statistics(study)
    json.dumps(found)
    assert found["lesion_share_of_lung"] == pytest.approx((lesion_labels() > 0).sum() / (lung_labels() > 0).sum())
    assert found["hounsfield"]["consolidated_like"]["p50"] == pytest.approx(20, abs=8)
    assert found["hounsfield"]["healthy_lung"]["p50"] == pytest.approx(-850, abs=8)
    assert found["components"]["count"] == 1
    assert found["place"]["right_half_share"] == 1.0
    height = found["place"]["foot_to_head_relative_density_by_tenth_of_lung"]
    assert sum(height[:5]) == pytest.approx(10.0, abs=0.01)
    with pytest.raises(ParameterError):
        lesion_statistics.study_statistics(ExternalStudy(facts, phantom.volume))
    nothing = ExternalStudy(facts, phantom.volume, lungs=phantom.lungs.array, lesions=phantom.lesions * 0)
    with pytest.raises(ParameterError):
        lesion_statistics.study_statistics(nothing)


def test_program_writes_one_file_and_says_what_is_missing(sets, tmp_path, capsys) -> None:
    path = tmp_path / "statistics.json"
    assert lesion_statistics.main([str(sets), str(path)]) == 0
    written = json.loads(path.read_text())
    assert [study["name"] for study in written["studies"]] == [f"medseg_case{number}" for number in (1, 2, 3, 4)]
    assert lesion_statistics.main([str(tmp_path), str(path)]) == 4
    assert "MedSeg" in capsys.readouterr().err
    assert lesion_statistics.main([]) == 2
