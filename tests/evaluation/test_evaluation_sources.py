"""Readers: every set in its layout, which way up its labels are, and what is missing."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from small_sets import INFECTED_SLICES, SHAPE, label_table, lesion_labels, lobes, lung_labels

from covid_bert.errors import InvalidValuesError, NotFoundError
from covid_bert.evaluation.sources import list_studies
from covid_bert.evaluation.studies import Condition
from covid_bert.lungs import LungMask
from covid_bert.phantom import Phantom, write


@pytest.fixture
def copied(sets, tmp_path):
    return shutil.copytree(sets, tmp_path / "copy")


def listed(folder, samples):
    return {study.facts.name: study for study in list_studies(folder, samples)[0]}


def test_every_set_is_read_on_one_grid(sets, sample_data) -> None:
    studies = listed(sets, sample_data)
    assert list(studies)[:8] == [
        "P001",
        "cap001",
        "normal001",
        *(f"medseg_case{n}" for n in (1, 2, 3, 4)),
        "ricord_slab",
    ]
    assert {"lidc_0001", "lidc_0002", "elastix_baseline", "elastix_followup", "lung_dx_a0001"} < set(studies)
    for name in ("P001", "medseg_case2", "lidc_0001", "elastix_followup"):
        study = studies[name].load()
        assert study.volume.shape == SHAPE
        for mask in (study.lungs, study.lesions):
            assert mask is None or mask.shape == SHAPE


def test_labels_of_slices_run_from_foot_to_head(sets, sample_data) -> None:
    studies = listed(sets, sample_data)
    for name in ("P001", "cap001"):
        study = studies[name].load()
        assert np.flatnonzero(study.slice_labels).tolist() == list(INFECTED_SLICES)
        # The lesion of the made-up chest lies in those very slices.
        dense = (study.volume.array > -700) & (lung_labels() > 0)
        assert np.array_equal(dense.any(axis=(1, 2)), study.slice_labels)
    normal = studies["normal001"].load()
    assert normal.slice_labels is not None
    assert not normal.slice_labels.any()


def test_masks_are_those_that_were_drawn(sets, sample_data) -> None:
    studies = listed(sets, sample_data)
    medseg = studies["medseg_case1"].load()
    assert np.array_equal(medseg.lesions, lesion_labels())
    assert np.array_equal(medseg.lungs, lung_labels())
    # Lobes 1 and 2 are the left lung, 3 to 5 the right one.
    assert np.array_equal(studies["lidc_0001"].load().lungs, lung_labels())
    elastix = studies["elastix_baseline"].load()
    assert np.array_equal(elastix.lungs, np.where(lung_labels() == 1, 1, 0))


def test_facts_keep_external_studies_and_training_sources_apart(sets, sample_data) -> None:
    facts = [study.facts for study in list_studies(sets, sample_data)[0]]
    assert all(item.redistributable == item.training_source for item in facts)
    external = {item.source for item in facts if not item.training_source}
    assert external == {"COVID-CT-MD", "MedSeg", "RICORD"}
    by_name = {item.name: item for item in facts}
    assert by_name["medseg_case2"].patient == by_name["medseg_case3"].patient != by_name["medseg_case1"].patient
    assert by_name["lidc_0001"].condition is Condition.NO_PNEUMONIA
    assert not by_name["lidc_0001"].condition_stated
    assert by_name["normal001"].condition_stated


def test_what_is_missing_or_unfit_is_named(copied, tmp_path) -> None:
    shutil.rmtree(copied / "elastix_lung")
    (copied / "covid_ct_md" / "Slice-level-labels-updated-1.npy").unlink()
    studies, missing = list_studies(copied, tmp_path / "nothing")
    names = [study.facts.name for study in studies]
    assert "normal001" in names
    assert "cap001" not in names
    reasons = {item.name: item.reason for item in missing}
    assert "3DCT_lung_baseline.mha" in reasons["elastix_lung: elastix_baseline"]
    assert "Slice-level" in reasons["covid_ct_md: P001"]
    assert reasons["sample data: chest_cta"] == "not there (chest_cta.nii.gz)"
    assert "Hounsfield" in reasons["zenodo20_2d"]
    assert "covid_ct_2d" not in reasons


def _with_label_beyond_the_study() -> np.ndarray:
    table = label_table()
    table[:, SHAPE[0]] = 1
    return table


@pytest.mark.parametrize(
    "table",
    [_with_label_beyond_the_study(), label_table()[:40], label_table()[:, : SHAPE[0] - 1], label_table()[0]],
    ids=["labels beyond the study", "too few patients", "too few slices", "one row"],
)
def test_a_table_of_labels_must_fit_the_study(copied, sample_data, table) -> None:
    np.save(copied / "covid_ct_md" / "Slice-level-labels-updated-1.npy", table)
    with pytest.raises(InvalidValuesError):
        listed(copied, sample_data)["cap001"].load()


def test_a_mask_with_unknown_labels_is_refused(copied, sample_data) -> None:
    # A mask of elastix knows one label.
    volume = listed(copied, sample_data)["elastix_baseline"].load().volume
    phantom = Phantom(volume, LungMask(lobes(), "given"), lobes(), lobes() > 9, lobes() > 9, 0)
    write(phantom, copied / "elastix_lung" / "3DCT_lung_baseline_mask.mha", "lungs")
    with pytest.raises(InvalidValuesError):
        listed(copied, sample_data)["elastix_baseline"].load()


def test_a_file_that_vanishes_is_an_error_when_it_is_read(copied, sample_data) -> None:
    study = listed(copied, sample_data)["cap001"]
    (copied / "covid_ct_md" / "cap001_ct.nii.gz").unlink()
    with pytest.raises(NotFoundError):
        study.load()
