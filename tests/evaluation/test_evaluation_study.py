"""Slices, probes and the record of one study."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_sets import INFECTED_SLICES, SHAPE, chest, lesion_labels, stand_in_lesions, stand_in_lungs

from covid_bert.errors import InputError, ParameterError
from covid_bert.evaluation import study_measurement
from covid_bert.evaluation.classification_measurement import NO_CALIBRATION, OTHER_CALIBRATION, why_no_probability
from covid_bert.evaluation.estimates import wilson
from covid_bert.evaluation.probes import BLANK_HOUNSFIELD, blank_lungs, image_descriptor, source_accuracy, source_test
from covid_bert.evaluation.slices import FLAG_SHARE, expected_lesion_area, slice_row
from covid_bert.evaluation.studies import Condition, ExternalStudy, StudyFacts
from covid_bert.evaluation.study_measurement import measure_study
from covid_bert.lesions import measure_lesions
from covid_bert.lungs import LungMask
from covid_bert.systems import create
from covid_bert.systems.likeness import UNLIKE
from covid_bert.volumes import Unit


@pytest.fixture(scope="module")
def ill(tmp_path_factory):
    return chest(tmp_path_factory.mktemp("ill"), infected=True, seed=5)


def infected_labels() -> np.ndarray:
    return np.isin(np.arange(SHAPE[0]), INFECTED_SLICES)


def study_of(phantom, **keywords) -> ExternalStudy:
    facts = StudyFacts("made_up", "made up", "patient", Condition.COVID_19)
    return ExternalStudy(facts, phantom.volume, **keywords)


def areas(phantom, lesions) -> tuple[np.ndarray, np.ndarray]:
    share = measure_lesions(phantom.volume, phantom.lungs, lesions).share_by_slice
    return expected_lesion_area(phantom.volume, lesions), share


def test_slices_are_told_by_their_lesions(ill) -> None:
    lesions = stand_in_lesions(ill.volume, ill.lungs)
    area, share = areas(ill, lesions)
    row = slice_row(ill.volume, ill.lungs, area, share, infected_labels())
    assert row.count == SHAPE[0] - 4
    assert row.infected == row.flagged == len(INFECTED_SLICES)
    assert row.auc.value == row.share_auc.value == row.density_auc.value == 1.0
    assert row.auc.count == 4  # blocks of 20 mm, slices of 4 mm
    assert row.sensitivity.value == row.specificity.value == 1.0
    # No slice is wrong, which a few blocks of five slices do not make certain: two of the four hold infected ones.
    assert (row.sensitivity.count, row.specificity.count) == (2, 4)
    assert row.sensitivity == wilson(2, 2)
    assert row.sensitivity.lower < row.specificity.lower < 0.6
    upside_down = slice_row(ill.volume, ill.lungs, area, share, infected_labels()[::-1])
    assert upside_down.auc.value < 0.5


def test_slices_are_ordered_by_area_and_flagged_by_share(ill) -> None:
    lungs = np.flatnonzero(ill.lungs.array.any(axis=(1, 2)))
    area, share = np.zeros(SHAPE[0]), np.full(SHAPE[0], np.nan)
    area[lungs], share[lungs] = np.arange(len(lungs)), np.linspace(0.5, 0.0, len(lungs))
    row = slice_row(ill.volume, ill.lungs, area, share, np.arange(SHAPE[0]) >= lungs[len(lungs) // 2])
    assert row.auc.value == 1.0
    assert row.share_auc.value == 0.0
    assert row.flagged == np.count_nonzero(share[lungs] >= FLAG_SHARE)


def test_the_expected_area_is_that_of_all_pixels_at_their_probability(ill) -> None:
    probability = np.zeros(ill.volume.shape, np.uint8)
    probability[5, 10, 10:14] = 255, 51, 102, 0
    lesions = replace(stand_in_lesions(ill.volume, ill.lungs), probability=probability)
    area = expected_lesion_area(ill.volume, lesions)
    assert area[5] == pytest.approx(1.6 * ill.volume.spacing[1] * ill.volume.spacing[2] / 100)
    assert not np.delete(area, 5).any()


def test_slices_of_a_healthy_study_have_a_specificity_only(ill) -> None:
    area, share = areas(ill, stand_in_lesions(ill.volume, ill.lungs))
    row = slice_row(ill.volume, ill.lungs, area, share, np.zeros(SHAPE[0], bool))
    assert (row.auc, row.share_auc, row.density_auc, row.sensitivity) == (None, None, None, None)
    assert row.specificity.value == pytest.approx(1 - len(INFECTED_SLICES) / row.count)


def test_slices_and_labels_must_fit(ill) -> None:
    area, share = areas(ill, stand_in_lesions(ill.volume, ill.lungs))
    with pytest.raises(ParameterError):
        slice_row(ill.volume, ill.lungs, area, share, infected_labels()[1:])
    with pytest.raises(ParameterError):
        slice_row(ill.volume, ill.lungs, area, np.full(SHAPE[0], np.nan), infected_labels())


def test_blanked_lungs_hold_even_tissue_and_nothing_else_changes(ill) -> None:
    blank = blank_lungs(ill.volume, ill.lungs)
    inside = ill.lungs.array > 0
    assert blank.array.dtype == ill.volume.array.dtype
    assert abs(blank.array[inside].mean() - BLANK_HOUNSFIELD) < 2
    assert np.array_equal(blank.array[~inside], ill.volume.array[~inside])
    assert not np.array_equal(ill.volume.array[inside], blank.array[inside])
    assert measure_lesions(blank, ill.lungs, stand_in_lesions(blank, ill.lungs)).share == 0


def test_descriptor_knows_the_scanner_and_needs_lungs(ill) -> None:
    found = image_descriptor(ill.volume, ill.lungs)
    assert (found["slice_mm"], found["pixel_mm"], found["field_of_view_mm"]) == (4.0, 6.0, 6.0 * SHAPE[2])
    assert abs(found["lung_hu"] + 850) < 10
    with pytest.raises(ParameterError):
        image_descriptor(ill.volume, LungMask(np.zeros(SHAPE, np.uint8), "given"))


def test_source_is_told_where_it_shows_and_only_there() -> None:
    generator = np.random.default_rng(1)
    sources = ["a", "b"] * 8
    patients = [str(index) for index in range(16)]
    shown = [{"noise": 20.0 * (source == "a") + generator.normal()} for source in sources]
    accuracy, chance, p_value = source_test(shown, sources, patients, repetitions=200)
    assert accuracy == 1.0
    assert 0.3 < chance < 0.6
    assert p_value < 0.02
    hidden = [{"noise": float(index // 2)} for index in range(16)]
    assert source_test(hidden, sources, patients, repetitions=200)[2] > 0.05
    assert source_test(shown, ["a"] * 16, patients) is None


def test_studies_of_one_patient_do_not_tell_their_own_source() -> None:
    # Two patients of source a that have nothing in common, each scanned twice: only their own twin looks like them.
    features = np.array([[0.0], [0.1], [10.0], [10.1], [-8.0], [-8.2]])
    sources, patients = ["a", "a", "a", "a", "b", "b"], ["1", "1", "2", "2", "3", "4"]
    assert source_accuracy(features, sources, list("123456")) == 1.0
    # Without their twins, the first two studies lie nearer to source b.
    assert source_accuracy(features, sources, patients) == pytest.approx(4 / 6)


def test_a_study_is_measured_against_its_masks(ill, monkeypatch) -> None:
    monkeypatch.setattr(study_measurement, "segment_lungs", stand_in_lungs)
    monkeypatch.setattr(study_measurement, "require_lesions", stand_in_lesions)
    study = study_of(ill, lungs=ill.lungs.array, lesions=ill.lesions, slice_labels=infected_labels())
    measured = measure_study(study, [])
    row = measured.row
    assert row.error is None
    assert [(item.method, item.default, item.dice) for item in row.lungs] == [
        ("unet", True, 1.0),
        ("morphological", False, 1.0),
    ]
    assert row.default_lungs.right_dice == row.default_lungs.left_dice == 1.0
    assert row.default_lungs.lesions_kept == 1.0
    assert (row.unit, row.failures) == (Unit.HOUNSFIELD, [])
    assert row.lesions.dice == pytest.approx(1.0, abs=0.02)
    assert row.lesions.consolidation_dice == 1.0
    assert row.lesions.share == pytest.approx((lesion_labels() > 0).sum() / (ill.lungs.array > 0).sum(), abs=0.002)
    assert row.lesions.true_share == pytest.approx(row.lesions.share, abs=0.002)
    assert row.lesions.pointing == 1.0
    assert row.lesions.lower_share == 1.0
    assert row.blanked_lesion_share == 0
    assert measured.lesions is not None


@pytest.mark.usefixtures("small_networks")
def test_classification_stands_beside_its_blanked_score(ill, monkeypatch) -> None:
    monkeypatch.setattr(study_measurement, "segment_lungs", stand_in_lungs)
    monkeypatch.setattr(study_measurement, "require_lesions", stand_in_lesions)
    system = create("s2", device="cpu")
    row = measure_study(study_of(ill, lesions=ill.lesions), [system]).row
    (said,) = row.classifications
    assert said.error is None
    assert 0 < said.score < 1
    assert said.blanked_score != said.score
    assert said.probability is None
    assert said.no_probability_because == NO_CALIBRATION
    assert said.calibrated_on is None
    assert said.weights_state.value == "untrained"


def test_a_stage_that_fails_leaves_its_sentence(ill, monkeypatch) -> None:
    def fails(*_, **__):
        raise InputError("The lungs are made of glass.", "Use another phantom.")

    monkeypatch.setattr(study_measurement, "segment_lungs", stand_in_lungs)
    monkeypatch.setattr(study_measurement, "require_lesions", fails)
    row = measure_study(study_of(ill), []).row
    assert row.error is None
    assert row.default_lungs is not None
    assert "made of glass" in row.lesions.error
    monkeypatch.setattr(study_measurement, "segment_lungs", fails)
    row = measure_study(study_of(ill), []).row
    assert "made of glass" in row.error
    assert row.default_lungs is None
    assert row.lesions is None


def test_a_part_that_fails_leaves_the_others_standing(ill, monkeypatch) -> None:
    def fails(*_, **__):
        raise InputError("This part is made of glass.", "Use another phantom.")

    monkeypatch.setattr(study_measurement, "segment_lungs", stand_in_lungs)
    monkeypatch.setattr(study_measurement, "require_lesions", stand_in_lesions)
    study = study_of(ill, lungs=ill.lungs.array, lesions=ill.lesions, slice_labels=infected_labels())
    for part, name in (
        ("image_descriptor", "description of the images"),
        ("slice_row", "slices"),
        ("blank_lungs", "lungs replaced"),
        ("pointing_game", "comparison of the lesions"),
        ("measure_lungs", "comparison of the lungs by unet"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(study_measurement, part, fails)
            row = measure_study(study, []).row
        assert row.error is None
        assert row.failures[0].startswith(f"{name}: This part is made of glass.")
        assert row.lesions.share > 0
        assert row.lesions.error is None
        assert (row.lesions.slices is None) == (part == "slice_row")
        assert (row.lesions.dice is None) == (part == "pointing_game")
        assert bool(row.descriptor) == (part != "image_descriptor")
    with monkeypatch.context() as patch:
        patch.setattr(study_measurement, "measure_lesions", fails)
        row = measure_study(study, []).row
    assert row.lesions.dice == pytest.approx(1.0, abs=0.02)
    assert (row.lesions.share, row.blanked_lesion_share) == (None, None)
    assert len(row.failures) == 2


def test_sides_are_compared_only_where_they_were_drawn(ill, monkeypatch) -> None:
    monkeypatch.setattr(study_measurement, "segment_lungs", stand_in_lungs)
    monkeypatch.setattr(study_measurement, "require_lesions", stand_in_lesions)
    (lungs, *_) = measure_study(study_of(ill, lungs=(ill.lungs.array > 0).astype(np.uint8)), []).row.lungs
    assert (lungs.dice, lungs.right_dice, lungs.left_dice) == (1.0, None, None)
    swapped = np.array([0, 2, 1], np.uint8)[ill.lungs.array]
    (lungs, *_) = measure_study(study_of(ill, lungs=swapped), []).row.lungs
    assert (lungs.dice, lungs.right_dice, lungs.left_dice) == (1.0, 0.0, 0.0)


def test_a_lesion_outside_the_lung_mask_is_not_kept(ill, monkeypatch) -> None:
    lesions = ill.lesions.copy()
    # As many voxels again, outside of all lung.
    first, last = INFECTED_SLICES.start, INFECTED_SLICES.stop
    outside = np.zeros(SHAPE, bool)
    outside[first:last, 0, :10] = True
    lesions[outside] = 1
    monkeypatch.setattr(study_measurement, "segment_lungs", stand_in_lungs)
    monkeypatch.setattr(study_measurement, "require_lesions", stand_in_lesions)
    row = measure_study(study_of(ill, lesions=lesions), []).row
    inside = np.count_nonzero(ill.lesions)
    for lungs in row.lungs:
        assert lungs.lesions_kept == pytest.approx(inside / (inside + outside.sum()))


class Result:
    """In place of a `StudyResult`: its warnings."""

    def __init__(self, *warnings: str) -> None:
        self.warnings = list(warnings)


def test_a_missing_probability_has_its_reason() -> None:
    unlike = f"{UNLIKE} It does not show both lungs."
    other = "A remark on the probability of rain."
    assert why_no_probability(Result(other, unlike), calibrated=True) == unlike
    assert why_no_probability(Result(other), calibrated=True) == OTHER_CALIBRATION
    assert why_no_probability(Result(unlike), calibrated=False) == NO_CALIBRATION


def test_a_fault_is_reported_as_one_and_a_cancel_ends_the_run(ill, monkeypatch) -> None:
    def broken(*_, **__):
        raise ZeroDivisionError("nothing to divide")

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(study_measurement, "segment_lungs", broken)
    assert "ZeroDivisionError" in measure_study(study_of(ill), []).row.error
    monkeypatch.setattr(study_measurement, "segment_lungs", stopped)
    with pytest.raises(KeyboardInterrupt):
        measure_study(study_of(ill), [])
